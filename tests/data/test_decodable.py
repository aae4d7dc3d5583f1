import hashlib

import pytest

from pairstill.config import DataConfig
from pairstill.data import checks
from pairstill.data.decodable import Decodable
from pairstill.data.manifest import build_manifest
from pairstill.errors import DataError


@pytest.fixture
def config(tmp_path, make_image):
    for name in "abc":
        make_image(tmp_path / "data" / f"{name}.png", colour=(ord(name), 0, 0))
    rows = "".join(
        f"{name}.png,words {name},{split}\n" for name, split in zip("abc", ("train", "val", "test"), strict=True)
    )
    (tmp_path / "data" / "pairs.csv").write_text("image,caption,split\n" + rows)
    return DataConfig(source="table", root=str(tmp_path / "data"), annotations="pairs.csv")


@pytest.fixture
def decoded(monkeypatch):
    """The digests of what is decoded from now on."""
    found = []
    decode = checks.decode_rgb

    def spy(content, **options):
        found.append(hashlib.sha256(content).hexdigest())
        return decode(content, **options)

    monkeypatch.setattr(checks, "decode_rgb", spy)
    return found


def test_images_are_decoded_once_and_changed_ones_again(config, decoded, tmp_path, make_image):
    cache = tmp_path / "cache"
    first = build_manifest(config, cache)
    assert sorted(decoded) == sorted(first.image_digests)
    decoded.clear()
    assert build_manifest(config, cache) == first and decoded == []
    make_image(tmp_path / "data" / "b.png", colour=(0, 0, 9))
    changed = build_manifest(config, cache)
    assert decoded == [changed.image_digests[1]] and changed.image_digests[1] != first.image_digests[1]


def test_an_image_that_is_damaged_later_is_found(config, tmp_path):
    build_manifest(config, tmp_path / "cache")
    content = (tmp_path / "data" / "b.png").read_bytes()
    (tmp_path / "data" / "b.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="b.png"):
        build_manifest(config, tmp_path / "cache")


def test_a_damaged_file_of_what_is_known_counts_as_none(config, decoded, tmp_path):
    build_manifest(config, tmp_path / "cache")
    (file,) = (tmp_path / "cache" / "decodable").glob("*.json")
    file.write_text(file.read_text().replace("a", "b"))
    decoded.clear()
    build_manifest(config, tmp_path / "cache")
    assert len(decoded) == 3


def test_what_decodes_within_many_pixels_is_not_known_to_within_few(tmp_path):
    many, few = (Decodable(tmp_path, tmp_path / "images", limit) for limit in (100, 10))
    many.keep({"a"})
    assert Decodable(tmp_path, tmp_path / "images", 100).digests == {"a"}
    assert few.digests == Decodable(tmp_path, tmp_path / "images", 10).digests == frozenset()
