import random
import re
from dataclasses import replace
from itertools import combinations

import pytest
from PIL import Image, ImageChops

from pairstill.config import DataConfig, ScenesConfig
from pairstill.data.captions import plain_caption
from pairstill.data.sources.scenes import read
from pairstill.data.sources.scenes.captions import describe
from pairstill.data.sources.scenes.picture import render
from pairstill.data.sources.scenes.scene import Scene, SceneObject, draw_scene, generate_scenes
from pairstill.storage import file_digest

COUNTS = {"train": 300, "val": 50, "test": 50}
RED_CIRCLE = SceneObject("circle", "red", "large", 0.25, 0.5, 0.2)
BLUE_STAR = SceneObject("star", "blue", "small", 0.75, 0.5, 0.13)
GREEN_RING = SceneObject("ring", "green", "small", 0.5, 0.75, 0.13)
PAIR = Scene("black", "row", (RED_CIRCLE, BLUE_STAR), 0.0)


@pytest.fixture(scope="module")
def listings():
    return generate_scenes(0, COUNTS)


def test_counts_and_order(listings):
    assert [(item.split, item.index) for item in listings] == [(s, i) for s in COUNTS for i in range(COUNTS[s])]


def test_same_seed_same_scenes_other_seed_other_scenes(listings):
    assert generate_scenes(0, COUNTS) == listings
    assert {item.scene.content for item in generate_scenes(1, COUNTS)} != {item.scene.content for item in listings}


def test_no_two_scenes_say_the_same_in_or_across_splits(listings):
    assert len({item.scene.content for item in listings}) == len(listings)


def test_number_of_training_scenes_does_not_change_the_others(listings):
    fewer = generate_scenes(0, {**COUNTS, "train": 10})
    for split, kept in (("test", 50), ("val", 50), ("train", 10)):
        assert [i for i in fewer if i.split == split] == [i for i in listings if i.split == split][:kept]


def test_objects_of_a_scene_differ_stand_inside_and_do_not_overlap(listings):
    for item in listings:
        objects = item.scene.objects
        assert len({(o.shape, o.colour) for o in objects}) == len(objects) in (2, 3)
        for o in objects:
            assert o.radius - 0.02 < o.x < 1.02 - o.radius
            assert o.radius - 0.02 < o.y < 1.02 - o.radius
        for a, b in combinations(objects, 2):
            assert max(abs(a.x - b.x), abs(a.y - b.y)) > 0.85 * (a.radius + b.radius)


def test_arrangement_holds_for_the_positions(listings):
    for item in listings:
        match item.scene.arrangement, [(o.x, o.y) for o in item.scene.objects]:
            case "row", centres:
                assert centres == sorted(centres)
            case "column", centres:
                assert [y for _, y in centres] == sorted(y for _, y in centres)
            case "one_over_two", [top, left, right]:
                assert left[0] < right[0] and top[1] < min(left[1], right[1])
            case _, [left, right, bottom]:
                assert left[0] < right[0] and bottom[1] > max(left[1], right[1])


def test_every_kind_occurs(listings):
    objects = [o for item in listings for o in item.scene.objects]
    assert len({o.shape for o in objects}) == len({o.colour for o in objects}) == 8
    assert len({item.scene.background for item in listings}) == 5
    assert len({(item.scene.arrangement, len(item.scene.objects)) for item in listings}) == 6


def test_a_large_red_circle_by_hand():
    image = render(Scene("black", "row", (RED_CIRCLE,), 0.0), 32)
    assert (image.mode, image.size) == ("RGB", (32, 32))
    assert image.getpixel((8, 16)) == (225, 25, 30)
    assert image.getpixel((24, 16)) == (8, 8, 8)
    red = sum(image.getpixel((x, y))[0] > 115 for x in range(32) for y in range(32))
    assert red == pytest.approx(3.1416 * (0.2 * 32) ** 2, rel=0.08)


def test_a_ring_is_hollow_and_a_circle_is_not():
    ring = render(Scene("black", "row", (replace(RED_CIRCLE, shape="ring"),), 0.0), 32)
    assert ring.getpixel((8, 16)) == (8, 8, 8)
    assert ring.getpixel((8, 11)) == (225, 25, 30)


@pytest.mark.parametrize("size", [16, 32])
def test_all_shapes_and_backgrounds_look_different(size):
    shapes = ("circle", "square", "triangle", "star", "cross", "ring", "moon", "diamond")
    backgrounds = ("black", "grey_stripes", "brown_checks", "sand_dots", "navy_fade")
    pictures = [render(Scene("black", "row", (replace(BLUE_STAR, shape=s),), 0.0), size) for s in shapes]
    pictures += [render(Scene(b, "row", (), 0.3), size) for b in backgrounds]
    for one, other in combinations(pictures, 2):
        lowest_and_highest = ImageChops.difference(one, other).getextrema()
        assert max(highest for _, highest in lowest_and_highest) > 40


CIRCLE = "a (large|big|huge) red (circle|disc)"
STAR = "a (small|little|tiny) blue star"
BLACK = "(a plain black background|a black backdrop|solid black)"


@pytest.mark.parametrize("seed", range(20))
def test_captions_by_hand(seed):
    patterns = (
        f"{CIRCLE} (to the )?left of {STAR} (on|against|before) {BLACK}",
        f"{STAR} (to the )?right of {CIRCLE}",
        f"{BLACK} (with|showing|behind) (a red (circle|disc) and a blue star|a blue star and a red (circle|disc))",
        "(two|a pair of) (shapes|figures|objects) (red (circle|disc) and blue star|blue star and red (circle|disc))",
        f"there is ({CIRCLE} and (a star|something blue)|{STAR} and (a circle|a disc|something red)) "
        f"(on|against|before) {BLACK}",
    )
    for caption, pattern in zip(describe(PAIR, str(seed)), patterns, strict=True):
        assert re.fullmatch(pattern, plain_caption(caption))


@pytest.mark.parametrize(
    ("arrangement", "forwards", "backwards"),
    [
        ("row", "from left to right", "from right to left"),
        ("column", "from top to bottom", "from bottom to top"),
    ],
)
def test_lines_of_three_are_read_both_ways(arrangement, forwards, backwards):
    scene = Scene("black", arrangement, (RED_CIRCLE, BLUE_STAR, GREEN_RING), 0.0)
    captions = describe(scene, "seed")
    for caption, order, direction in ((captions[0], 1, forwards), (captions[1], -1, backwards)):
        assert direction in caption
        colours = ["red", "blue", "green"]
        assert sorted(colours, key=caption.index) == colours[::order]


@pytest.mark.parametrize(("arrangement", "parted"), [("one_over_two", (1, 2)), ("two_over_one", (2, 1))])
def test_triangles_name_the_upper_part_first_and_the_lower_part_first(arrangement, parted):
    scene = Scene("black", arrangement, (RED_CIRCLE, BLUE_STAR, GREEN_RING), 0.0)
    colours = ("red", "blue", "green")
    over, under = describe(scene, "seed")[:2]
    for caption, words, first in (
        (over, (" above ", " over ", " on top of "), colours[: parted[0]]),
        (under, (" below ", " under ", " beneath "), colours[parted[0] :]),
    ):
        word = next(word for word in words if word in caption)
        before, after = caption.split(word)
        assert all(colour in before for colour in first)
        assert all(colour in after for colour in set(colours) - set(first))


def test_captions_of_a_scene_differ_and_fit_into_the_word_limit(listings):
    for item in listings:
        captions = [plain_caption(caption) for caption in describe(item.scene, item.seed)]
        assert len(set(captions)) == 5
        assert all(len(caption.split()) < 30 for caption in captions)


def test_full_captions_tell_the_scenes_apart(listings):
    captions = [describe(item.scene, item.seed)[0] for item in listings]
    assert len(set(captions)) == len(captions)


def test_captions_depend_on_the_seed(listings):
    scene = listings[0].scene
    assert describe(scene, "a") == describe(scene, "a")
    assert len({describe(scene, str(number)) for number in range(5)}) == 5


def test_drawn_scenes_depend_on_the_stream_alone():
    assert draw_scene(random.Random(3)) == draw_scene(random.Random(3))


SMALL = DataConfig(scenes=ScenesConfig(train=6, val=2, test=3, size=16))


def test_reader_writes_png_files_once_and_equal_everywhere(tmp_path):
    raw = read(SMALL, tmp_path / "one")
    assert [pair.image for pair in raw.pairs][5:7] == ["train-000005.png", "val-000000.png"]
    assert all(len(pair.captions) == 5 for pair in raw.pairs)
    with Image.open(raw.image_root / raw.pairs[0].image) as image:
        assert (image.format, image.mode, image.size) == ("PNG", "RGB", (16, 16))
    again = read(SMALL, tmp_path / "two")
    assert again.pairs == raw.pairs
    for pair in raw.pairs:
        assert file_digest(raw.image_root / pair.image) == file_digest(again.image_root / pair.image)
    times = [path.stat().st_mtime_ns for path in sorted(raw.image_root.iterdir())]
    assert read(SMALL, tmp_path / "one") == raw
    assert [path.stat().st_mtime_ns for path in sorted(raw.image_root.iterdir())] == times


def test_every_setting_has_its_own_folder(tmp_path):
    variants = [{"seed": 1}, {"size": 17}, {"train": 7}, {"val": 3}, {"test": 4}]
    folders = {read(SMALL, tmp_path).image_root}
    for change in variants:
        config = DataConfig(scenes=replace(SMALL.scenes, **change))
        folders.add(read(config, tmp_path).image_root)
    assert len(folders) == 6
