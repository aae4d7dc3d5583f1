import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from pairstill.config import DataConfig
from pairstill.data import checked, checks
from pairstill.data.manifest import build_manifest
from pairstill.errors import DataError


@pytest.fixture
def config(tmp_path, make_image):
    for name in "abc":
        make_image(tmp_path / "data" / "images" / f"{name}.png", colour=(ord(name), 0, 0))
    rows = "".join(
        f"{name}.png,words {name},{split}\n" for name, split in zip("abc", ("train", "val", "test"), strict=True)
    )
    (tmp_path / "data" / "pairs.csv").write_text("image,caption,split\n" + rows)
    return DataConfig(source="table", root=str(tmp_path / "data"), annotations="pairs.csv", images="images")


@pytest.fixture
def build(config, tmp_path, monkeypatch):
    """Build the manifest, and return it with the names of the files that were read and of those that were decoded."""
    monkeypatch.setattr(checked, "RECENT_SECONDS", 0.0)
    read, decoded = [], []
    read_file, decode = checks.read_inside, checks.decode_rgb

    def spy_read(root, image):
        read.append(image)
        return read_file(root, image)

    def spy_decode(content, **options):
        decoded.append(content)
        return decode(content, **options)

    monkeypatch.setattr(checks, "read_inside", spy_read)
    monkeypatch.setattr(checks, "decode_rgb", spy_decode)

    def build(changed=config, **options):
        read.clear()
        decoded.clear()
        return build_manifest(changed, tmp_path / "cache", **options), sorted(read), len(decoded)

    return build


def test_images_are_read_once_and_changed_ones_again(build, tmp_path, make_image):
    first, read, _ = build()
    assert read == ["a.png", "b.png", "c.png"]
    assert build() == (first, [], 0)
    make_image(tmp_path / "data" / "images" / "b.png", colour=(0, 0, 9))
    changed, read, decoded = build()
    assert (read, decoded) == (["b.png"], 1)
    assert changed.image_digests[1] != first.image_digests[1] and changed.image_digests[0] == first.image_digests[0]
    assert build() == (changed, [], 0)


def test_another_content_of_the_same_size_and_time_is_found(build, tmp_path):
    first, _, _ = build()
    path = tmp_path / "data" / "images" / "b.png"
    status, content = path.stat(), path.read_bytes()
    path.write_bytes(content.replace(b"IDAT", b"IDAX"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(DataError, match=r"b\.png"):
        build()
    path.write_bytes(content)
    assert build()[0] == first


def test_all_is_read_and_decoded_again_on_request(build, tmp_path):
    first, _, _ = build()
    assert build(verify=True) == (first, ["a.png", "b.png", "c.png"], 3)


def test_what_verifying_finds_is_remembered(build, tmp_path, monkeypatch):
    build()
    path = tmp_path / "data" / "images" / "b.png"
    stamp = checked.Stamp.of(str(path))
    path.write_bytes(b"as if the disk had lost it")
    lstat = checked.Stamp.of
    monkeypatch.setattr(checked.Stamp, "of", lambda name: stamp if name == str(path) else lstat(name))
    build()  # size and times are what they were
    for verify in (True, False):
        with pytest.raises(DataError, match=r"b\.png.*cannot be decoded"):
            build(verify=verify)


def test_a_file_that_has_just_been_written_is_read_again(build, monkeypatch):
    monkeypatch.setattr(checked, "RECENT_SECONDS", 3600.0)
    build()
    assert build()[1:] == (["a.png", "b.png", "c.png"], 3)


def test_an_image_that_was_removed_or_became_a_link_is_found(build, tmp_path, config):
    build()
    images, outside = tmp_path / "data" / "images", tmp_path / "outside"
    (images / "b.png").rename(tmp_path / "b.png")
    with pytest.raises(DataError, match=r"b\.png' is missing"):
        build()
    (images / "b.png").symlink_to(tmp_path / "b.png")
    with pytest.raises(DataError, match="leads out of"):
        build()
    (images / "b.png").unlink()
    (tmp_path / "b.png").rename(images / "b.png")
    build()
    # The folder of a file that is as it was may lead elsewhere by now.
    table = tmp_path / "data" / "pairs.csv"
    (images / "in").mkdir()
    (images / "b.png").rename(images / "in" / "b.png")
    table.write_text(table.read_text().replace("b.png", "in/b.png"))
    build()
    shutil.move(images / "in", outside)
    (images / "in").symlink_to(outside)
    with pytest.raises(DataError, match="leads out of"):
        build()


def test_a_damaged_file_of_what_is_known_counts_as_none(build, tmp_path):
    build()
    (file,) = (tmp_path / "cache" / "checked").glob("*.json")
    for damaged in (
        file.read_text().replace("a", "b"),
        "[]",
        '{"images": {"a.png": [1]}}',
        '{"images": {"a.png": "1 2"}}',
        '{"images": 3}',
        "\xff",
    ):
        file.write_text(damaged)
        assert len(build()[1]) == 3


def test_what_passes_with_many_pixels_is_not_known_to_pass_with_few(build, config):
    build()
    with pytest.raises(DataError, match="too many pixels"):
        build(replace(config, max_pixels=15))


def test_a_file_under_another_name_is_not_decoded_again(build, tmp_path):
    build()
    table = Path(tmp_path / "data" / "pairs.csv")
    (tmp_path / "data" / "images" / "a.png").rename(tmp_path / "data" / "images" / "d.png")
    table.write_text(table.read_text().replace("a.png", "d.png"))
    assert build()[1:] == (["d.png"], 0)
