import os
import shutil

import pytest

from pairstill.config import DataConfig
from pairstill.core.errors import DataError
from pairstill.data import checks
from pairstill.data.build import build_manifest
from pairstill.data.checked import Checked, Seen, Stamp
from pairstill.data.checks import Checking, check_images
from pairstill.data.images import decode
from pairstill.events import silent

MAX_PIXELS = DataConfig().max_pixels


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
def check(tmp_path):
    """Check images of any age; return their digests, the names of those that were read, and how many were decoded."""

    def check(images=("a.png", "b.png", "c.png"), *, max_pixels=MAX_PIXELS, verify=False, settled=0.0, emit=silent):
        decoded = []

        def spy(content, **options):
            decoded.append(content)
            return decode(content, **options)

        checking = Checking(tmp_path / "cache", max_pixels, "white", verify, settled, spy)
        found = list(check_images(tmp_path / "data" / "images", images, checking, emit))
        if problems := [f"{image} {one.problem}" for image, one in zip(images, found, strict=True) if one.problem]:
            raise DataError("; ".join(problems))
        read = [image for image, one in zip(images, found, strict=True) if one.read]
        return [one.digest for one in found], read, len(decoded)

    return check


@pytest.fixture
def images(config, tmp_path):
    return tmp_path / "data" / "images"


def test_images_are_read_once_and_changed_ones_again(check, images, make_image):
    first, read, _ = check()
    assert read == ["a.png", "b.png", "c.png"]
    assert check() == (first, [], 0)
    make_image(images / "b.png", colour=(0, 0, 9))
    changed, read, decoded = check()
    assert (read, decoded) == (["b.png"], 1)
    assert changed[1] != first[1] and changed[0] == first[0]
    assert check() == (changed, [], 0)


def test_another_content_of_the_same_size_and_time_is_found(check, images):
    first, _, _ = check()
    path = images / "b.png"
    status, content = path.stat(), path.read_bytes()
    path.write_bytes(content.replace(b"IDAT", b"IDAX"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(DataError, match=r"b\.png"):
        check()
    path.write_bytes(content)
    assert check()[0] == first


def test_all_is_read_and_decoded_again_on_request(check, images):
    first, _, _ = check()
    assert check(verify=True) == (first, ["a.png", "b.png", "c.png"], 3)


def test_what_verifying_finds_is_remembered(check, images, config, tmp_path):
    (_, digest, _), _, _ = check()
    path = images / "b.png"
    path.write_bytes(b"as if the disk had lost it")
    Checked(tmp_path / "cache", images, MAX_PIXELS, "white").keep(
        {"b.png": (Stamp.of(str(path)), Seen(digest, "0"))}, 0
    )
    build_manifest(config, tmp_path / "cache")  # size and times are what they were
    for verify in (True, False):
        with pytest.raises(DataError, match=r"b\.png.*cannot be decoded"):
            build_manifest(config, tmp_path / "cache", verify=verify)


def test_a_file_that_has_just_been_written_is_read_again(check, images):
    check(settled=3600.0)
    assert check(settled=3600.0)[1:] == (["a.png", "b.png", "c.png"], 3)


def test_an_image_that_was_removed_or_became_a_link_is_found(check, images, tmp_path):
    check()
    outside = tmp_path / "outside"
    (images / "b.png").rename(tmp_path / "b.png")
    with pytest.raises(DataError, match=r"b\.png is missing"):
        check()
    (images / "b.png").symlink_to(tmp_path / "b.png")
    with pytest.raises(DataError, match="leads out of"):
        check()
    (images / "b.png").unlink()
    (tmp_path / "b.png").rename(images / "b.png")
    check()
    # The folder of a file that is as it was may lead elsewhere by now.
    (images / "in").mkdir()
    (images / "b.png").rename(images / "in" / "b.png")
    names = ("a.png", "in/b.png", "c.png")
    assert check(names)[1] == ["in/b.png"]
    shutil.move(images / "in", outside)
    (images / "in").symlink_to(outside)
    with pytest.raises(DataError, match="leads out of"):
        check(names)


def test_a_damaged_file_of_what_is_known_counts_as_none(check, images, tmp_path):
    check()
    (file,) = (tmp_path / "cache" / "checked").glob("*/*.rows")
    whole = file.read_bytes()
    for damaged in (whole[:-1], b"", whole[:100] + b"x" + whole[101:], whole + whole):
        for path in file.parent.iterdir():
            path.unlink()
        file.write_bytes(damaged)
        assert len(check()[1]) == 3


def test_what_passes_with_many_pixels_is_not_known_to_pass_with_few(check, images):
    check()
    with pytest.raises(DataError, match="too many pixels"):
        check(max_pixels=15)


def test_a_file_under_another_name_is_not_decoded_again(check, images):
    check()
    (images / "a.png").rename(images / "d.png")
    assert check(("d.png", "b.png", "c.png"))[1:] == (["d.png"], 0)


def test_a_check_that_was_ended_goes_on_from_where_it_was(check, images, monkeypatch):
    monkeypatch.setattr(checks, "BLOCK_IMAGES", 1)
    names = ("a.png", "b.png", "c.png")
    content = (images / "c.png").read_bytes()
    (images / "c.png").write_bytes(b"no picture")

    class Killed(BaseException):
        """As a signal would end it."""

    def end_at_the_third(event):
        if event.done == 3:
            raise Killed

    with pytest.raises(Killed):
        check(emit=end_at_the_third)
    (images / "c.png").write_bytes(content)
    found, read, _ = check()
    assert read == ["c.png"], "the others had been written down"
    assert found == check(names, verify=True)[0]
