"""Scenes as values: which objects there are and where, drawn from a seed."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar, get_args

from pairstill.core.schema import Split
from pairstill.storage import digest

Shape = Literal["circle", "square", "triangle", "star", "cross", "ring", "moon", "diamond"]
Colour = Literal["red", "green", "blue", "yellow", "purple", "orange", "cyan", "white"]
Size = Literal["small", "large"]
Background = Literal["black", "grey_stripes", "brown_checks", "sand_dots", "navy_fade"]
Arrangement = Literal["row", "column", "one_over_two", "two_over_one"]

# Objects are listed in the arrangement's reading order: left before right, upper before lower.
_CENTRES: dict[tuple[int, Arrangement], tuple[tuple[float, float], ...]] = {
    (2, "row"): ((0.27, 0.5), (0.73, 0.5)),
    (2, "column"): ((0.5, 0.27), (0.5, 0.73)),
    (3, "row"): ((0.18, 0.5), (0.5, 0.5), (0.82, 0.5)),
    (3, "column"): ((0.5, 0.18), (0.5, 0.5), (0.5, 0.82)),
    (3, "one_over_two"): ((0.5, 0.27), (0.26, 0.73), (0.74, 0.73)),
    (3, "two_over_one"): ((0.26, 0.27), (0.74, 0.27), (0.5, 0.73)),
}
# Radii as parts of the side; a line of three leaves less room.
_RADII: dict[Literal["line_of_three", "roomy"], dict[Size, float]] = {
    "line_of_three": {"small": 0.105, "large": 0.155},
    "roomy": {"small": 0.135, "large": 0.215},
}
_JITTER: dict[Literal["line_of_three", "roomy"], tuple[float, float]] = {
    "line_of_three": (0.01, 0.16),
    "roomy": (0.04, 0.04),
}
_TWO_OBJECTS = 0.6

T = TypeVar("T")


@dataclass(frozen=True)
class SceneObject:
    """One shape.

    Attributes:
        shape: its outline.
        colour: its colour.
        size: small or large, as captions say it.
        x: centre, from 0 at the left edge to 1 at the right.
        y: centre, from 0 at the top edge to 1 at the bottom.
        radius: half of its extent, as a part of the side.
    """

    shape: Shape
    colour: Colour
    size: Size
    x: float
    y: float
    radius: float


@dataclass(frozen=True)
class Scene:
    """Two or three objects before a background.

    Attributes:
        background: texture and colour behind the objects.
        arrangement: how the objects stand to each other.
        objects: the objects, left before right and upper before lower; no two share shape and colour.
        phase: shift of the texture, from 0 to 1.
    """

    background: Background
    arrangement: Arrangement
    objects: tuple[SceneObject, ...]
    phase: float

    @property
    def content(self) -> tuple[object, ...]:
        """Everything that captions can speak of, without the jitter."""
        return (self.background, self.arrangement, *((o.shape, o.colour, o.size) for o in self.objects))


@dataclass(frozen=True)
class SceneListing:
    """A scene with its place in the benchmark.

    Attributes:
        split: the split it belongs to.
        index: its number within the split.
        scene: the scene.
        seed: seed of its captions.
    """

    split: Split
    index: int
    scene: Scene
    seed: str


def pick(stream: random.Random, options: Sequence[T]) -> T:
    """Return one of `options`, all equally likely.

    Only `Random.random()` is promised to give the same values in every version of Python, so it alone is used.
    """
    return options[int(stream.random() * len(options))]


def generate_scenes(seed: int, counts: Mapping[Split, int]) -> tuple[SceneListing, ...]:
    """Return `counts[split]` scenes per split, no two with the same content, in or across splits.

    A scene depends on the seed, its split and its index. The splits are filled from test to train, so the number
    of training scenes never changes a test scene.
    """
    seen: set[tuple[object, ...]] = set()
    listings: dict[Split, list[SceneListing]] = {split: [] for split in counts}
    for split in reversed(list(counts)):
        for index in range(counts[split]):
            stream_seed = digest("scene", str(seed), split, str(index))
            scene = _draw_new_scene(random.Random(stream_seed), seen)
            seen.add(scene.content)
            listings[split].append(SceneListing(split, index, scene, digest("captions", stream_seed)))
    return tuple(listing for split in counts for listing in listings[split])


def _draw_new_scene(stream: random.Random, seen: set[tuple[object, ...]]) -> Scene:
    # There are more than a million contents, so a repetition is rare and drawing again is cheap.
    while True:
        scene = draw_scene(stream)
        if scene.content not in seen:
            return scene


def draw_scene(stream: random.Random) -> Scene:
    """Return a scene drawn from `stream`."""
    count = 2 if stream.random() < _TWO_OBJECTS else 3
    options: list[Arrangement] = [arrangement for number, arrangement in _CENTRES if number == count]
    arrangement = pick(stream, options)
    room = "line_of_three" if count == 3 and arrangement in ("row", "column") else "roomy"
    along, across = _JITTER[room]
    spread_x, spread_y = (across, along) if arrangement == "column" else (along, across)
    kinds = [(shape, colour) for shape in get_args(Shape) for colour in get_args(Colour)]
    # The line as a whole may stand aside; its members follow, so "left of" and "above" stay plain to see.
    shift_x, shift_y = _jitter(stream, spread_x), _jitter(stream, spread_y)
    objects = []
    for x, y in _CENTRES[count, arrangement]:
        shape, colour = kinds.pop(int(stream.random() * len(kinds)))
        size: Size = pick(stream, get_args(Size))
        x, y = x + shift_x + _jitter(stream, 0.015), y + shift_y + _jitter(stream, 0.015)
        objects.append(SceneObject(shape, colour, size, x, y, _RADII[room][size]))
    return Scene(pick(stream, get_args(Background)), arrangement, tuple(objects), stream.random())


def _jitter(stream: random.Random, spread: float) -> float:
    return (2 * stream.random() - 1) * spread
