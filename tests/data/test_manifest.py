import pickle
import subprocess
import sys
from dataclasses import replace

import pytest

from pairstill.config import ColumnsConfig, DataConfig, ScenesConfig
from pairstill.core.errors import ArtifactError, DataError
from pairstill.core.schema import ImageRecord
from pairstill.data.build import build_manifest
from pairstill.data.manifest import COLUMNS, Manifest
from pairstill.data.overlaps import Overlaps
from pairstill.storage import digest, file_digest
from pairstill.storage.columns import Columns, writing_columns


def entry(filename, split, *captions):
    """Return one image of a Karpathy split file."""
    return {"filename": filename, "split": split, "sentences": [{"raw": caption} for caption in captions]}


GOOD = [
    entry("a.png", "train", "One.", "Two!"),
    entry("b.png", "train", "Three"),
    entry("c.png", "val", "Four"),
    entry("d.png", "test", "Five", "Six"),
]
DROP = {"on_bad_pair": "drop"}


def test_records_splits_captions_and_owners(make_karpathy, tmp_path):
    manifest = build_manifest(make_karpathy(GOOD), tmp_path / "cache", need={"train": 2, "val": 1, "test": 1})
    assert manifest.source == "karpathy"
    assert manifest.image_root == tmp_path / "images"
    assert manifest.split("train") == (
        ImageRecord("a.png", ("one", "two"), "train"),
        ImageRecord("b.png", ("three",), "train"),
    )
    assert manifest.captions("train") == ["one", "two", "three"]
    assert manifest.caption_owner("train").tolist() == [0, 0, 1]
    assert manifest.captions("test") == ["five", "six"]
    assert manifest.caption_owner("test").tolist() == [0, 0]
    assert manifest.image_paths("val") == [tmp_path / "images" / "c.png"]
    assert manifest.image_digests[2] == file_digest(tmp_path / "images" / "c.png")
    assert manifest.dropped == ()


def test_captions_stay_as_written_on_request(make_karpathy, tmp_path):
    manifest = build_manifest(make_karpathy(GOOD, captions="as_they_are"), tmp_path)
    assert manifest.captions("train") == ["One.", "Two!", "Three"]


def test_captions_are_the_papers_on_request(make_karpathy, tmp_path):
    pairs = [entry("a.png", "train", "It's a half-pipe, empty."), entry("b.png", "train", "\t")]
    manifest = build_manifest(make_karpathy(pairs, captions="paper", on_bad_pair="drop"), tmp_path)
    assert manifest.captions("train") == ["it's a half-pipe, empty"]
    assert len(manifest.dropped) == 1  # white space alone is no caption, though the paper's form keeps a tab


def problem_of(config, cache_dir, need=None):
    with pytest.raises(DataError) as caught:
        build_manifest(config, cache_dir, need=need)
    return str(caught.value)


BAD = {
    "missing image": (entry("no/such.png", "train", "x"), "images[4]: image 'no/such.png' is missing from"),
    "path that climbs": (entry("../dataset.json", "train", "x"), "images[4]: image '../dataset.json' leaves the image"),
    "absolute path": (entry("/etc/hostname", "train", "x"), "images[4]: image '/etc/hostname' leaves the image root"),
    "empty caption": (entry("e.png", "train", " ... "), "images[4]: image 'e.png' has the empty caption ' ... '"),
    "missing caption": (
        entry("e.png", "train", "NaN"),
        "images[4]: image 'e.png' has the caption 'NaN', which stands for a missing one",
    ),
    "backslashes": (entry("no/at\\all.png", "train", "x"), "; write / between its folders, not a backslash"),
    "unknown split": (
        entry("e.png", "dev", "x"),
        "images[4]: image 'e.png' has split 'dev'; it must be one of train, val, test",
    ),
    "pair listed twice": (
        entry("a.png", "train", "ONE"),
        "images[4]: image 'a.png' is listed twice with caption 'one'",
    ),
    "image in two splits": (
        entry("a.png", "test", "x"),
        "images[4]: image 'a.png' is in split 'test' but also in 'train'",
    ),
    "no caption": (entry("e.png", "train"), "images[4]: image 'e.png' has no caption"),
    "caption of a wrong type": (
        {"filename": "e.png", "split": "train", "sentences": [{"tokens": ["x"]}]},
        "images[4]: the caption is [None]; it must be a string or a list of strings",
    ),
    "half a surrogate pair": (entry("e.png", "train", "x \ud83d"), "holds half a surrogate pair"),
    "same image by another spelling": (
        entry("./a.png", "val", "x"),
        "images[4]: image './a.png' is in split 'val' but also in 'train'",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_pair_stops_with_the_place_and_the_remedy(kind, make_karpathy, tmp_path):
    bad, expected = BAD[kind]
    message = problem_of(make_karpathy([*GOOD, bad]), tmp_path)
    assert message.startswith(f"1 problem in the pairs of {tmp_path}:\n  - ")
    assert expected in message
    assert message.endswith("leave the bad pairs out with `--data.on_bad_pair drop`.")


@pytest.mark.parametrize("kind", BAD)
def test_bad_pair_is_dropped_and_recorded_on_request(kind, make_karpathy, tmp_path):
    bad, expected = BAD[kind]
    manifest = build_manifest(make_karpathy([*GOOD, bad], **DROP), tmp_path)
    assert [record.image for record in manifest.records] == ["a.png", "b.png", "c.png", "d.png"]
    assert manifest.captions("train") == ["one", "two", "three"]
    assert len(manifest.dropped) == 1
    assert expected in manifest.dropped[0]


@pytest.mark.parametrize("source", ["karpathy", "table"])
def test_the_same_content_under_two_names_in_two_splits_is_one_image(source, make_karpathy, tmp_path):
    config = make_karpathy([*GOOD, entry("e.png", "test", "Seven"), entry("f.png", "train", "Eight")])
    for copy in ("e.png", "f.png"):
        (tmp_path / "images" / copy).write_bytes((tmp_path / "images" / "a.png").read_bytes())
    if source == "table":
        rows = [("a.png", "One.", "train"), ("e.png", "Seven", "test"), ("f.png", "Eight", "train")]
        (tmp_path / "t.csv").write_text("image,caption,split\n" + "\n".join(",".join(row) for row in rows))
        config = replace(config, source="table", annotations="t.csv")
    found = "image 'e.png' is in split 'test' but also, with the same content as 'a.png', in 'train'"
    assert found in problem_of(config, tmp_path)
    manifest = build_manifest(replace(config, **DROP), tmp_path)
    names = {record.image for record in manifest.records}
    assert {"a.png", "f.png"} <= names and "e.png" not in names, "in one split both stay, as they are listed"
    assert len(manifest.dropped) == 1


def test_truncated_image_is_found(make_karpathy, make_image, tmp_path):
    path = make_image(tmp_path / "images" / "b.png", size=(64, 64))
    path.write_bytes(path.read_bytes()[:-30])
    assert "images[1]: image 'b.png' cannot be decoded" in problem_of(make_karpathy(GOOD), tmp_path)


def test_link_that_leaves_the_root_is_found(make_karpathy, make_image, tmp_path):
    secret = make_image(tmp_path / "secret.png")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").symlink_to(secret)
    message = problem_of(make_karpathy(GOOD), tmp_path)
    assert f"images[0]: image 'a.png' leads out of {tmp_path / 'images'} (to {secret})" in message


def test_image_over_the_pixel_limit_is_found(make_karpathy, tmp_path):
    message = problem_of(make_karpathy(GOOD, max_pixels=15), tmp_path)
    assert "image 'a.png' has too many pixels (4 x 4 = 16, at most 15 are allowed)" in message


def test_all_problems_are_counted_and_twenty_shown(make_karpathy, tmp_path):
    bad = [entry(f"no/{number}.png", "train", "x") for number in range(25)]
    message = problem_of(make_karpathy([*GOOD, *bad]), tmp_path)
    assert message.startswith("25 problems in the pairs of")
    assert message.count("  - ") == 20
    assert "... and 5 more" in message


def test_dropping_one_caption_keeps_the_image_and_its_others(make_karpathy, tmp_path):
    config = make_karpathy([*GOOD, entry("e.png", "train", "good", "?")], **DROP)
    manifest = build_manifest(config, tmp_path)
    assert manifest.records[-1] == ImageRecord("e.png", ("good",), "train")
    assert manifest.dropped == ("images[4]: image 'e.png' has the empty caption '?'",)


def test_equal_captions_of_one_listing_are_kept(make_karpathy, tmp_path):
    manifest = build_manifest(make_karpathy([entry("a.png", "train", "A dog.", "a dog")]), tmp_path)
    assert manifest.captions("train") == ["a dog", "a dog"]


def test_listings_of_one_image_are_merged_in_order(make_karpathy, tmp_path):
    entries = [entry("a.png", "train", "one"), entry("b.png", "train", "two"), entry("a.png", "train", "three")]
    manifest = build_manifest(make_karpathy(entries), tmp_path)
    assert manifest.captions("train") == ["one", "three", "two"]
    assert len(manifest.image_digests) == 2


def test_too_small_split_names_both_numbers(make_karpathy, tmp_path):
    message = problem_of(make_karpathy(GOOD), tmp_path, need={"train": 2, "val": 3})
    assert "split 'val' has 1 usable images but 3 are needed" in message
    assert "1 problem in" in message
    assert "on_bad_pair" not in message


def test_split_size_is_checked_after_dropping(make_karpathy, tmp_path):
    config = make_karpathy([*GOOD, entry("no/such.png", "val", "x")], **DROP)
    message = problem_of(config, tmp_path, need={"val": 2})
    assert message.index("split 'val' has 1 usable images but 2") < message.index("no/such.png")
    assert "on_bad_pair" not in message


def test_no_usable_image_at_all(make_karpathy, tmp_path):
    assert "no usable image is left" in problem_of(make_karpathy([entry("no/a.png", "train", "x")], **DROP), tmp_path)
    assert "no usable image is left" in problem_of(make_karpathy([entry("a.png", "train", "?")], **DROP), tmp_path)


def test_fingerprint_is_the_hash_of_paths_contents_splits_and_captions(make_karpathy, tmp_path):
    manifest = build_manifest(make_karpathy([entry("a.png", "val", "one", "two")]), tmp_path)
    content = file_digest(tmp_path / "images" / "a.png")
    assert manifest.fingerprint == digest("a.png", content, "val", "2", "one", "two")


def test_fingerprint_changes_with_every_part_but_not_with_the_root(make_karpathy, make_image, tmp_path):
    original = build_manifest(make_karpathy(GOOD), tmp_path)
    prints = {original.fingerprint}
    for changed in (
        [entry("a.png", "train", "One."), *GOOD[1:]],
        [entry("a.png", "test", "One.", "Two!"), *GOOD[1:]],
        [GOOD[1], GOOD[0], *GOOD[2:]],
    ):
        prints.add(build_manifest(make_karpathy(changed), tmp_path).fingerprint)
    make_image(tmp_path / "images" / "a.png", colour=(9, 9, 9))
    prints.add(build_manifest(make_karpathy(GOOD), tmp_path).fingerprint)
    assert len(prints) == 5
    elsewhere = Manifest.of_records(
        tmp_path / "moved.arrow", original.source, tmp_path / "moved", original.records, original.image_digests
    )
    assert elsewhere.fingerprint == original.fingerprint


def test_the_fingerprint_of_a_split_is_that_of_its_images_and_captions_alone(make_karpathy, make_image, tmp_path):
    manifest = build_manifest(make_karpathy(GOOD), tmp_path)
    content = file_digest(tmp_path / "images" / "d.png")
    test = digest(content, "2", "five", "six")
    assert manifest.split_fingerprint("test") == test

    def changed(entries):
        return build_manifest(make_karpathy(entries), tmp_path).split_fingerprint("test")

    assert changed([entry("a.png", "train", "Other"), *GOOD[2:]]) == test, "other splits play no part"
    assert changed([*GOOD[:3], entry("d.png", "test", "Five")]) != test
    (tmp_path / "images" / "d.png").rename(tmp_path / "images" / "e.png")
    assert changed([*GOOD[:3], entry("e.png", "test", "Five", "Six")]) == test, "nor do file names"
    make_image(tmp_path / "images" / "e.png", colour=(9, 9, 9))
    assert changed([*GOOD[:3], entry("e.png", "test", "Five", "Six")]) != test


def test_saved_manifest_comes_back_equal(make_karpathy, tmp_path):
    manifest = build_manifest(make_karpathy([*GOOD, entry("no/such.png", "val", "x")], **DROP), tmp_path)
    manifest.save(tmp_path / "manifest.arrow")
    loaded = Manifest.load(tmp_path / "manifest.arrow")
    assert loaded == manifest
    assert loaded.fingerprint == manifest.fingerprint and loaded.records == manifest.records


def test_other_ranks_are_sent_where_the_columns_are(make_karpathy, tmp_path):
    manifest = build_manifest(make_karpathy(GOOD), tmp_path)
    assert manifest.parts("train") and manifest.captions("train")
    sent = pickle.dumps(manifest)
    assert len(sent) < 2000
    assert pickle.loads(sent) == manifest and pickle.loads(sent).records == manifest.records


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows, about: rows[0].update(captions=["other"]), "was changed after it was written"),
        (lambda rows, about: rows.pop(), "was changed after it was written"),
        (lambda rows, about: rows[0].update(split="dev"), "is damaged"),
        (lambda rows, about: rows[0].update(sha256=None), "is damaged"),
        (lambda rows, about: rows[0].update(captions=[None]), "is damaged"),
        (lambda rows, about: about.pop("dropped"), "is damaged"),
        (lambda rows, about: about.update(notes="[1"), "is damaged"),
        (lambda rows, about: about.update(format="pairstill-manifest-9"), "has format 'pairstill-manifest-9'"),
        (lambda rows, about: [row.pop("sha256") for row in rows], "is damaged"),
    ],
)
def test_damaged_manifest_is_refused(change, message, make_karpathy, tmp_path):
    path = tmp_path / "manifest.arrow"
    build_manifest(make_karpathy(GOOD), tmp_path).save(path)
    columns = Columns(path)
    rows, about = [dict(zip(COLUMNS, row, strict=True)) for row in columns.rows(*COLUMNS)], columns.metadata
    change(rows, about)
    with writing_columns(path, {name: COLUMNS[name] for name in rows[0]}, about) as add:
        for row in rows:
            add(*row.values())
    with pytest.raises(ArtifactError, match=message):
        Manifest.load(path)


def test_missing_or_foreign_manifest_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match="does not exist"):
        Manifest.load(tmp_path / "manifest.arrow")
    (tmp_path / "list.json").write_text("[1]")
    with pytest.raises(ArtifactError, match="is damaged"):
        Manifest.load(tmp_path / "list.json")


def test_import_stays_light():
    heavy = "torch datasets webdataset pyarrow kornia"
    code = f"import sys, pairstill.data.build; print([m for m in '{heavy}'.split() if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_embedded_scenes_need_no_settings(tmp_path):
    config = DataConfig(scenes=ScenesConfig(train=4, val=2, test=3, size=16))
    manifest = build_manifest(config, tmp_path, need={"train": 4, "val": 2, "test": 3})
    assert [len(manifest.split(split)) for split in ("train", "val", "test")] == [4, 2, 3]
    assert manifest.caption_owner("val").tolist() == [0] * 5 + [1] * 5


def test_what_is_wrong_with_nearly_all_pairs_is_said_once(make_karpathy, tmp_path):
    other = [entry(f"{number}.png", "training", "x") for number in range(3)]
    message = problem_of(make_karpathy([*other, entry("v.png", "val", "x")]), tmp_path)
    assert message.endswith("\nThe splits are called 'training' (3 times): call them train, val, test.")
    config = make_karpathy(GOOD)
    (tmp_path / "elsewhere").mkdir()
    message = problem_of(replace(config, images="elsewhere"), tmp_path)
    assert message.endswith("set data.images, which is 'elsewhere', to their folder below data.root.")
    assert "drop" not in message


def test_too_few_training_images_say_how_to_ask_for_fewer_pairs(make_karpathy, tmp_path):
    message = problem_of(make_karpathy(GOOD), tmp_path, need={"train": 5})
    assert message.endswith("add images, or ask for fewer pairs, such as --distill.phases '[{num_pairs: 1}]'")


def table(tmp_path, make_image, rows, **settings):
    """Return a table of pictures, each of a colour of its own."""
    for number, image in enumerate(dict.fromkeys(row.split(",")[0] for row in rows)):
        make_image(tmp_path / image, colour=(number, number // 3, 0))
    header = "image,caption,split" if rows[0].count(",") == 2 else "image,caption"
    (tmp_path / "t.csv").write_text("\n".join([header, *rows]) + "\n")
    return DataConfig(source="table", root=str(tmp_path), annotations="t.csv", **settings)


ONE = {"columns": ColumnsConfig(split=None)}


def counts(manifest):
    return [len(manifest.split(split)) for split in ("train", "val", "test")]


def test_images_are_divided_at_random_with_all_their_captions(make_image, tmp_path):
    rows = [f"{number}.png,caption {caption} of {number}" for caption in range(2) for number in range(20)]
    config = table(tmp_path, make_image, rows, split="random 8:1:1", **ONE)
    manifest = build_manifest(config, tmp_path)
    assert counts(manifest) == [16, 2, 2] and all(len(record.captions) == 2 for record in manifest.records)
    assert manifest.division == "random 8:1:1, seed 0"
    other = build_manifest(replace(config, split_seed=1), tmp_path)
    assert counts(other) == [16, 2, 2] and other.records != manifest.records
    splits = {record.image: record.split for record in manifest.records}
    for image in splits:  # neither names nor order play a part
        (tmp_path / image).rename(tmp_path / f"renamed {image}")
    table_of = [f"renamed {row}" for row in reversed(rows)]
    (tmp_path / "t.csv").write_text("image,caption\n" + "\n".join(table_of) + "\n")
    assert {r.image: r.split for r in build_manifest(config, tmp_path).records} == {
        f"renamed {image}": split for image, split in splits.items()
    }


@pytest.mark.parametrize(("split", "expected"), [("random 1:1:0", [3, 3, 0]), ("random 98:1:1", [4, 1, 1])])
def test_shares_may_be_nothing_and_else_are_an_image_at_least(split, expected, make_image, tmp_path):
    rows = [f"{number}.png,caption" for number in range(6)]
    assert counts(build_manifest(table(tmp_path, make_image, rows, split=split, **ONE), tmp_path)) == expected


def test_a_share_of_nothing_for_a_split_that_is_needed_is_refused_before_images_are_read(make_image, tmp_path):
    config = table(tmp_path, make_image, ["1.png,caption", "2.png,caption"], split="random 8:1:0")
    for path in tmp_path.glob("*.png"):
        path.write_bytes(b"no picture")
    found = problem_of(config, tmp_path, {"train": 1, "val": 1, "test": 1})
    assert found.startswith("data.split is 'random 8:1:0', which gives test nothing, and the data has no image of test")
    assert "each share must be above 0" in found
    assert "no picture" not in found and "bad pair" in problem_of(config, tmp_path, {"train": 1, "val": 1, "test": 0})


def test_copies_of_a_picture_are_not_divided(make_image, tmp_path):
    rows = [f"{number}.png,caption" for number in range(8)]
    config = table(tmp_path, make_image, rows, split="random 2:1:1", **ONE)
    for number in range(4):
        make_image(tmp_path / f"{number}.bmp", colour=(number, number // 3, 0))
    with (tmp_path / "t.csv").open("a") as stream:
        stream.writelines(f"{number}.bmp,another caption\n" for number in range(4))
    for seed in range(5):
        manifest = build_manifest(replace(config, split_seed=seed), tmp_path)
        split_of = {record.image: record.split for record in manifest.records}
        assert all(split_of[f"{number}.bmp"] == split_of[f"{number}.png"] for number in range(4))
        assert manifest.overlaps.pictures == 0


def test_a_draw_among_train_leaves_other_splits_and_gives_them_nothing(make_image, tmp_path):
    rows = [f"{number}.png,caption,{'test' if number < 3 else 'train'}" for number in range(12)]
    config = table(tmp_path, make_image, rows, split="random 2:1:0")
    assert counts(build_manifest(config, tmp_path)) == [6, 3, 3]
    found = problem_of(replace(config, split="random 8:1:1"), tmp_path)
    assert "data.split gives a share to test, which has 3 images already; write 0 for it ('random 8:1:0')" in found
    anew = replace(config, split="random 8:1:1", columns=ColumnsConfig(split=None))
    assert counts(build_manifest(anew, tmp_path)) == [10, 1, 1]


def test_what_splits_have_in_common_is_counted(make_image, tmp_path):
    rows = [
        *("a.png,A dog.,train", "a.png,one more,train", "b.png,a dog,val", "b.png,a cat,val"),
        *("c.png,A dog,test", "c.png,a bird,test", "d.png,a bird!,test", "d.png,a tree,test"),
    ]
    config = table(tmp_path, make_image, rows)
    manifest = build_manifest(config, tmp_path)
    assert manifest.overlaps == Overlaps(pictures=0, val_captions=1, test_captions=1, equal_test_captions=2)
    assert manifest.warnings == [
        "Captions that train has word for word as well: 1 of the 2 of val and 1 of the 4 of test"
    ]
    make_image(tmp_path / "copy.bmp", colour=(0, 0, 0))  # the colour of a.png
    with (tmp_path / "t.csv").open("a") as stream:
        stream.write("copy.bmp,another name,test\n")
    manifest = build_manifest(config, tmp_path)
    assert manifest.overlaps.pictures == 1
    assert manifest.warnings[0].startswith("1 image of val and test show the same picture, pixel for pixel, as another")
    assert build_manifest(replace(config, on_bad_pair="drop"), tmp_path).about["overlaps"]["pictures"] == 1
