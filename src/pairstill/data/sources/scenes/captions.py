"""Scenes as captions: five different ways to say what is there."""

import random
from collections.abc import Sequence

from pairstill.data.sources.scenes.scene import Background, Colour, Scene, SceneObject, Shape, Size, pick

CAPTIONS_PER_SCENE = 5

_SHAPES: dict[Shape, tuple[str, ...]] = {
    "circle": ("circle", "circle", "disc"),
    "square": ("square", "square", "box"),
    "triangle": ("triangle",),
    "star": ("star",),
    "cross": ("cross", "cross", "plus"),
    "ring": ("ring", "ring", "hoop"),
    "moon": ("moon", "moon", "crescent"),
    "diamond": ("diamond", "diamond", "rhombus"),
}
_COLOURS: dict[Colour, tuple[str, ...]] = {
    "red": ("red",),
    "green": ("green",),
    "blue": ("blue",),
    "yellow": ("yellow",),
    "purple": ("purple", "purple", "violet"),
    "orange": ("orange",),
    "cyan": ("cyan", "cyan", "turquoise"),
    "white": ("white",),
}
_SIZES: dict[Size, tuple[str, ...]] = {"small": ("small", "little", "tiny"), "large": ("large", "big", "huge")}
_BACKGROUNDS: dict[Background, tuple[str, ...]] = {
    "black": ("a plain black background", "a black backdrop", "solid black"),
    "grey_stripes": ("a striped grey background", "grey stripes", "a grey striped backdrop"),
    "brown_checks": ("a brown checkerboard", "brown checks", "a checkered brown background"),
    "sand_dots": ("a dotted sand background", "sand with dots", "a sandy dotted backdrop"),
    "navy_fade": ("a navy gradient", "a fading navy backdrop", "a navy background"),
}
_COUNTS = {2: ("two", "a pair of"), 3: ("three", "a trio of")}
_SHAPE_NOUNS = ("shapes", "figures", "objects")


def describe(scene: Scene, seed: str) -> tuple[str, ...]:
    """Return five captions of `scene`, all different, in the words and orders that `seed` draws.

    The first says everything; the second leaves out the background, the third and fourth sizes and places; the fifth
    tells of one object and names the others only by colour or shape.
    """
    stream = random.Random(seed)
    return (
        f"{_arranged(scene, stream)} {pick(stream, ('on', 'against', 'before'))} {_background(scene, stream)}",
        _arranged_backwards(scene, stream),
        _inventory(scene, stream),
        _counted(scene, stream),
        _glance(scene, stream),
    )


def _noun(item: SceneObject, stream: random.Random, *, sized: bool) -> str:
    words = [pick(stream, _COLOURS[item.colour]), pick(stream, _SHAPES[item.shape])]
    if sized:
        words.insert(0, pick(stream, _SIZES[item.size]))
    return " ".join(words)


def _a(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _join(phrases: Sequence[str]) -> str:
    return f"{', '.join(phrases[:-1])} and {phrases[-1]}"


def _background(scene: Scene, stream: random.Random) -> str:
    return pick(stream, _BACKGROUNDS[scene.background])


def _shuffled(items: Sequence[SceneObject], stream: random.Random) -> list[SceneObject]:
    left = list(items)
    return [left.pop(int(stream.random() * len(left))) for _ in items]


def _arranged(scene: Scene, stream: random.Random) -> str:
    """Say which object stands where, in reading order."""
    names = [_a(_noun(item, stream, sized=True)) for item in scene.objects]
    above = pick(stream, ("above", "over", "on top of"))
    match scene.arrangement, len(names):
        case "row", 2:
            return f"{names[0]} {pick(stream, ('to the left of', 'left of'))} {names[1]}"
        case "column", 2:
            return f"{names[0]} {above} {names[1]}"
        case "row", _:
            return f"{_join(names)} from left to right"
        case "column", _:
            return f"{_join(names)} from top to bottom"
        case "one_over_two", _:
            return f"{names[0]} {above} {_join(names[1:])}"
        case _:
            return f"{_join(names[:2])} {above} {names[2]}"


def _arranged_backwards(scene: Scene, stream: random.Random) -> str:
    """Say the same from the other end, with the opposite relation."""
    names = [_a(_noun(item, stream, sized=True)) for item in reversed(scene.objects)]
    below = pick(stream, ("below", "under", "beneath"))
    match scene.arrangement, len(names):
        case "row", 2:
            return f"{names[0]} {pick(stream, ('to the right of', 'right of'))} {names[1]}"
        case "column", 2:
            return f"{names[0]} {below} {names[1]}"
        case "row", _:
            return f"{_join(names)} from right to left"
        case "column", _:
            return f"{_join(names)} from bottom to top"
        case "one_over_two", _:
            return f"{_join(names[:2])} {below} {names[2]}"
        case _:
            return f"{names[0]} {below} {_join(names[1:])}"


def _inventory(scene: Scene, stream: random.Random) -> str:
    """Begin with the background and list the objects without sizes or places."""
    names = [_a(_noun(item, stream, sized=False)) for item in _shuffled(scene.objects, stream)]
    opening = pick(stream, ("with", "showing", "behind"))
    return f"{_background(scene, stream)} {opening} {_join(names)}"


def _counted(scene: Scene, stream: random.Random) -> str:
    """Count the objects, then list them bare."""
    names = [_noun(item, stream, sized=False) for item in _shuffled(scene.objects, stream)]
    return f"{pick(stream, _COUNTS[len(names)])} {pick(stream, _SHAPE_NOUNS)}, {_join(names)}"


def _glance(scene: Scene, stream: random.Random) -> str:
    """Tell of one object in full and hint at the others."""
    first, *others = _shuffled(scene.objects, stream)
    hints = [
        f"something {pick(stream, _COLOURS[other.colour])}"
        if stream.random() < 0.5
        else _a(pick(stream, _SHAPES[other.shape]))
        for other in others
    ]
    place = pick(stream, ("on", "against", "before"))
    phrases = _join([_a(_noun(first, stream, sized=True)), *hints])
    return f"there is {phrases} {place} {_background(scene, stream)}"
