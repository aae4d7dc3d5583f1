"""What is removed below the cache is what pairstill made, whatever else is there."""

import pytest

from pairstill.core.errors import ConfigError
from pairstill.storage.cache import KINDS, MARKER, cache_folder, entries_of, remove_kind

NAMES = {
    "texts": "1" * 64,
    "features": "2" * 64,
    "pixels": "3" * 64,
    "checked": "4" * 64,
    "manifests": "7" * 64 + ".arrow",
    "images": "scenes-v1-6d8ef35db5a45d98",
    "teachers": "5" * 24,
    "distilled": "6" * 24 + ".json",
}


def filled(path):
    if path.suffix in (".json", ".arrow"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    else:
        (path / "deep").mkdir(parents=True)
        (path / "deep" / "file").write_text("x")
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_is_made_with_its_marker_and_removed_whole(tmp_path, kind):
    folder = cache_folder(tmp_path, kind)
    assert (folder / MARKER).is_file() and folder == cache_folder(tmp_path, kind)
    entry = filled(folder / NAMES[kind])
    assert entries_of(tmp_path, kind) == [entry]
    assert remove_kind(tmp_path, kind) == [] and not folder.exists()
    assert remove_kind(tmp_path, kind) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_from_before_there_were_markers_is_known_by_its_entries(tmp_path, kind):
    entry = filled(tmp_path / kind / NAMES[kind])
    assert cache_folder(tmp_path, kind) == entry.parent and entries_of(tmp_path, kind) == [entry]
    assert remove_kind(tmp_path, kind) == [] and not entry.parent.exists()


def test_a_folder_of_the_user_is_neither_used_nor_removed(tmp_path):
    photo = filled(tmp_path / "images" / "holiday")
    filled(tmp_path / "images" / NAMES["images"])
    with pytest.raises(ConfigError, match="whose folder images holds what pairstill did not make .'holiday'.; choose"):
        cache_folder(tmp_path, "images")
    with pytest.raises(ConfigError, match="'holiday'.*nothing is removed"):
        remove_kind(tmp_path, "images")
    assert photo.is_dir() and entries_of(tmp_path, "images") == []


def test_what_the_user_put_into_a_folder_of_ours_stays(tmp_path):
    folder = cache_folder(tmp_path, "images")
    filled(folder / NAMES["images"])
    (folder / "holiday.jpg").write_text("x")
    (folder / "webdataset-0123456789abcdef").symlink_to(tmp_path)
    assert remove_kind(tmp_path, "images") == ["holiday.jpg", "webdataset-0123456789abcdef"]
    assert sorted(path.name for path in folder.glob("[!.]*")) == ["holiday.jpg", "webdataset-0123456789abcdef"]


def test_a_link_is_not_followed(tmp_path):
    entry = filled(tmp_path / "elsewhere" / NAMES["texts"])
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "texts").symlink_to(entry.parent)
    with pytest.raises(ConfigError, match="texts is a link to .*elsewhere; nothing is removed"):
        remove_kind(tmp_path / "cache", "texts")
    assert entry.is_dir()


def test_what_a_kill_left_in_a_new_folder_does_not_make_it_foreign(tmp_path):
    (tmp_path / "texts" / "..pairstill.x1y2.tmp").mkdir(parents=True)
    assert (cache_folder(tmp_path, "texts") / MARKER).is_file()
