import pytest

from pairstill.core.errors import ArtifactError, StorageError
from pairstill.data.sources.extraction import extract_once
from pairstill.data.sources.raw import RawPair
from pairstill.storage import write_sealed


def write_one(folder):
    (folder / "a.png").write_bytes(b"pixels")
    return [RawPair("a.png", ("one", "two"), "train", "row 0"), "row 1: bad"]


def never(folder):
    raise AssertionError("a finished folder must not be written again")


def test_second_call_reads_what_the_first_wrote(tmp_path):
    first = extract_once(tmp_path, "key", write_one)
    assert first.image_root == tmp_path / "images" / "key"
    assert first.pairs == (RawPair("a.png", ("one", "two"), "train", "row 0"),)
    assert first.unreadable == ("row 1: bad",)
    assert extract_once(tmp_path, "key", never) == first


def test_interrupted_write_leaves_nothing(tmp_path):
    def interrupted(folder):
        (folder / "a.png").write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract_once(tmp_path, "key", interrupted)
    assert list((tmp_path / "images").glob("[!.]*")) == []
    assert extract_once(tmp_path, "key", write_one).pairs


def test_another_run_that_finishes_first_wins(tmp_path):
    def slow(folder):
        extract_once(tmp_path, "key", write_one)
        return [RawPair("late.png", ("late",), "train", "row 0")]

    assert extract_once(tmp_path, "key", slow).pairs[0].image == "a.png"
    assert [path.name for path in (tmp_path / "images").glob("[!.]*")] == ["key"]


def test_unfinished_folder_of_the_same_name_is_an_error_not_a_guess(tmp_path):
    key = "scenes-v1-0123456789abcdef"
    (tmp_path / "images" / key).mkdir(parents=True)
    (tmp_path / "images" / key / "stray").touch()
    with pytest.raises(StorageError, match="not empty"):
        extract_once(tmp_path, key, write_one)


def test_a_caption_that_changed_is_found(tmp_path):
    index = extract_once(tmp_path, "key", write_one).image_root / "pairs.arrow"
    index.write_bytes(index.read_bytes().replace(b"two", b"too"))
    with pytest.raises(ArtifactError, match=r"pairs\.arrow is damaged"):
        extract_once(tmp_path, "key", never)


def test_a_folder_from_before_listings_had_a_file_of_their_own_is_read(tmp_path):
    folder = extract_once(tmp_path, "key", write_one).image_root
    (folder / "pairs.arrow").unlink()
    pairs = [["a.png", ["one", "two"], "train", "row 0"]]
    write_sealed(folder / "pairs.json", {"pairs": pairs, "unreadable": ["row 1: bad"]})
    assert list(extract_once(tmp_path, "key", never).listings) == write_one(folder)


@pytest.mark.parametrize("content", ["{}", '{"pairs": [[1]], "unreadable": []}', "[]", "{"])
def test_damaged_index_is_refused(tmp_path, content):
    folder = extract_once(tmp_path, "key", write_one).image_root
    (folder / "pairs.json").write_text(content)
    with pytest.raises(ArtifactError, match="delete"):
        extract_once(tmp_path, "key", never)
