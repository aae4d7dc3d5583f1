import fcntl
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from pairstill.core.errors import ArtifactError, DataError, StorageError
from pairstill.data.sources.extraction import extract_once, write_once
from pairstill.data.sources.raw import RawPair
from pairstill.storage import write_sealed


def write_one(folder):
    (folder / "a.png").write_bytes(b"pixels")
    return [RawPair("a.png", ("one", "two"), "train", "row 0"), "row 1: bad"]


def never(folder):
    raise AssertionError("a finished folder must not be written again")


def test_second_call_reads_what_the_first_wrote(tmp_path):
    first = extract_once(tmp_path, "key", [write_one])
    assert first.image_root == tmp_path / "images" / "key"
    assert first.pairs == (RawPair("a.png", ("one", "two"), "train", "row 0"),)
    assert first.unreadable == ("row 1: bad",)
    assert extract_once(tmp_path, "key", [never]) == first


def test_interrupted_write_leaves_nothing(tmp_path):
    def interrupted(folder):
        (folder / "a.png").write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract_once(tmp_path, "key", [interrupted])
    assert list((tmp_path / "images").glob("[!.]*")) == []
    assert extract_once(tmp_path, "key", [write_one]).pairs


def test_a_run_that_was_ended_goes_on_with_the_part_that_it_was_at(tmp_path):
    begun = []

    def part(number, ended=False):
        def write(folder):
            begun.append(number)
            yield RawPair(f"{number}.png", ("one",), "train", f"row {number}")
            if ended:
                raise KeyboardInterrupt
            write_once(folder / f"{number}.png", lambda path: path.write_bytes(b"pixels"))

        return write

    with pytest.raises(KeyboardInterrupt):
        extract_once(tmp_path, "key", [part(0), part(1), part(2, ended=True)])
    raw = extract_once(tmp_path, "key", [part(0), part(1), part(2)])
    assert begun == [0, 1, 2, 2]
    assert [pair.where for pair in raw.pairs] == ["row 0", "row 1", "row 2"]
    assert sorted(path.name for path in raw.image_root.glob("*.png")) == ["0.png", "1.png", "2.png"]
    assert [path.name for path in (tmp_path / "images").glob("*.tmp")] == []


def test_data_that_cannot_be_read_leaves_nothing(tmp_path):
    def wrong(folder):
        raise DataError("no shard")
        yield

    with pytest.raises(DataError, match="no shard"):
        extract_once(tmp_path, "key", [write_one, wrong])
    assert [path.name for path in (tmp_path / "images").glob("*key*")] == []


def test_another_run_that_is_at_the_same_folder_is_waited_for(tmp_path):
    work = tmp_path / "images" / ".key.tmp"
    work.mkdir(parents=True)
    lock = os.open(work / ".lock", os.O_RDWR | os.O_CREAT)  # as another process would hold it
    fcntl.flock(lock, fcntl.LOCK_EX)
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(extract_once, tmp_path, "key", [never])
        with pytest.raises(TimeoutError):
            waiting.result(0.2)
        other = extract_once(tmp_path / "other", "key", [write_one]).image_root
        other.rename(tmp_path / "images" / "key")
        os.close(lock)
        assert waiting.result().unreadable == ("row 1: bad",)


def test_a_file_is_written_once_and_whole(tmp_path):
    def half(path):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_once(tmp_path / "a.png", half)
    assert not (tmp_path / "a.png").exists()
    for content in (b"first", b"second"):
        write_once(tmp_path / "a.png", lambda path, content=content: path.write_bytes(content))
    assert (tmp_path / "a.png").read_bytes() == b"first"


def test_unfinished_folder_of_the_same_name_is_an_error_not_a_guess(tmp_path):
    key = "scenes-v1-0123456789abcdef"
    (tmp_path / "images" / key).mkdir(parents=True)
    (tmp_path / "images" / key / "stray").touch()
    with pytest.raises(StorageError, match="not empty"):
        extract_once(tmp_path, key, [write_one])


def test_a_caption_that_changed_is_found(tmp_path):
    index = extract_once(tmp_path, "key", [write_one]).image_root / "pairs.arrow"
    index.write_bytes(index.read_bytes().replace(b"two", b"too"))
    with pytest.raises(ArtifactError, match=r"pairs\.arrow is damaged"):
        extract_once(tmp_path, "key", [never])


def test_a_folder_from_before_listings_had_a_file_of_their_own_is_read(tmp_path):
    folder = extract_once(tmp_path, "key", [write_one]).image_root
    (folder / "pairs.arrow").unlink()
    pairs = [["a.png", ["one", "two"], "train", "row 0"]]
    write_sealed(folder / "pairs.json", {"pairs": pairs, "unreadable": ["row 1: bad"]})
    assert list(extract_once(tmp_path, "key", [never]).listings) == write_one(folder)


@pytest.mark.parametrize("content", ["{}", '{"pairs": [[1]], "unreadable": []}', "[]", "{"])
def test_damaged_index_is_refused(tmp_path, content):
    folder = extract_once(tmp_path, "key", [write_one]).image_root
    (folder / "pairs.json").write_text(content)
    with pytest.raises(ArtifactError, match="delete"):
        extract_once(tmp_path, "key", [never])
