import hashlib
import os
from dataclasses import replace

import pytest
from PIL import Image

from pairstill.core.errors import DataError
from pairstill.data.checks import check_image, check_images, clean_path


@pytest.mark.parametrize(("image", "expected"), [("a.jpg", "a.jpg"), ("./a//b.jpg", "a/b.jpg"), ("a/./b", "a/b")])
def test_clean_path(image, expected):
    assert clean_path(image) == expected


@pytest.mark.parametrize("image", ["/etc/passwd", "../a.jpg", "a/../../b.jpg", "a/.."])
def test_paths_that_leave_the_root(image):
    with pytest.raises(DataError, match="leaves the image root"):
        clean_path(image)


@pytest.mark.parametrize("image", [".", "./", "a\0b"])
def test_paths_of_no_file(image):
    with pytest.raises(DataError, match="not the path of a file"):
        clean_path(image)


def test_good_image_gets_the_digest_of_its_content(tmp_path, make_image, checking):
    path = make_image(tmp_path / "a.png")
    check = check_image(tmp_path, "a.png", checking)
    assert check.problem is None
    assert check.digest == hashlib.sha256(path.read_bytes()).hexdigest()


def test_missing_file_folder_and_undecodable_file(tmp_path, checking):
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.jpg").write_text("no image")
    checks = list(check_images(tmp_path, ["absent.jpg", "folder", "text.jpg", "text.jpg/below"], checking))
    assert [check.digest for check in checks] == ["", "", "", ""]
    problems = [str(check.problem) for check in checks]
    assert problems[0] == f"is missing from {tmp_path}"
    assert problems[1] == "is not a file"
    assert problems[2].startswith("cannot be decoded")
    assert problems[3]


def test_link_inside_the_root_is_followed_and_one_that_leaves_is_not(tmp_path, make_image, checking):
    root = tmp_path / "root"
    make_image(root / "a.png")
    (root / "inside.png").symlink_to(root / "a.png")
    outside = make_image(tmp_path / "secret.png")
    (root / "outside.png").symlink_to(outside)
    (root / "folder").symlink_to(tmp_path)
    checks = list(check_images(root.resolve(), ["inside.png", "outside.png", "folder/secret.png"], checking))
    assert checks[0].problem is None
    for check in checks[1:]:
        assert str(check.problem).startswith(f"leads out of {root} (to {outside})")


def test_loop_of_links_is_a_problem_not_a_crash(tmp_path, checking):
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    assert check_image(tmp_path, "loop.png", checking).problem is not None


def test_outcomes_keep_the_order(tmp_path, make_image, checking):
    names = [f"{number}.png" for number in range(40)]
    for number, name in enumerate(names):
        make_image(tmp_path / name, colour=(number, 0, 0))
    checks = list(check_images(tmp_path, names, checking))
    assert [check.digest for check in checks] == [
        hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in names
    ]


def test_progress_is_told_until_all_are_checked(tmp_path, make_image, checking):
    names = [f"{number}.png" for number in range(100)]
    for name in names[:-1]:
        make_image(tmp_path / name)
    told = []
    list(check_images(tmp_path, names, checking, emit=lambda event: told.append((event.done, event.total))))
    assert told[-1] == (100, 100) and told == sorted(told) and len(told) > 1


def test_what_would_hang_or_fill_the_memory_is_not_opened(tmp_path, checking):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "device.png").symlink_to("/dev/zero")
    with (tmp_path / "large.png").open("wb") as large:
        large.truncate(2**28 + 1)  # a hole, which takes no room on the disk
    problems = [check_image(tmp_path, f"{name}.png", checking).problem for name in ("pipe", "device", "large")]
    assert problems[0] == "is not a file"
    assert problems[1] == f"leads out of {tmp_path} (to /dev/zero)"
    assert problems[2] == "has 268435457 bytes; at most 268435456 are allowed"


def save(path, image, **options):
    image.save(path, **options)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_what_is_turned_or_laid_on_a_background_has_a_digest_of_its_own(tmp_path, checking):
    photo, exif = Image.linear_gradient("L").resize((8, 4)).convert("RGB"), Image.Exif()
    plain = save(tmp_path / "plain.jpg", photo)
    exif[0x0112] = 1
    upright = save(tmp_path / "upright.jpg", photo, exif=exif)
    exif[0x0112] = 6
    turned = save(tmp_path / "turned.jpg", photo, exif=exif)
    opaque = save(tmp_path / "opaque.png", photo.convert("RGBA"))
    photo.putalpha(128)
    clear = save(tmp_path / "clear.png", photo)
    names = ["plain.jpg", "upright.jpg", "opaque.png", "turned.jpg", "clear.png"]
    first = list(check_images(tmp_path, names, checking))
    assert [check.digest for check in first[:3]] == [plain, upright, opaque], "as ever: what was kept is found again"
    assert first[3].digest not in ("", turned) and first[4].digest not in ("", clear)
    black = list(check_images(tmp_path, names, replace(checking, background="black")))
    assert [a.digest == b.digest for a, b in zip(first, black, strict=True)] == [True, True, True, True, False]


def test_copies_of_a_picture_in_other_files_share_the_digest_of_their_pixels(tmp_path, checking):
    checking = replace(checking, settled_seconds=0.0)
    picture = Image.linear_gradient("L").resize((8, 8)).convert("RGB")
    save(tmp_path / "a.png", picture)
    save(tmp_path / "b.bmp", picture)
    save(tmp_path / "c.png", picture.transpose(Image.Transpose.ROTATE_90))
    for _ in range(2):  # from the files, and from what was kept of them
        a, b, c = list(check_images(tmp_path, ["a.png", "b.bmp", "c.png"], checking))
        assert a.digest != b.digest and a.pixels == b.pixels != c.pixels
