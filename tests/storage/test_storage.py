import hashlib
import json
import os
import re
import stat
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from pairstill.core.errors import ArtifactError, StorageError
from pairstill.storage import (
    Digest,
    append_json_line,
    digest,
    digest_all,
    file_digest,
    files,
    load_tensors,
    open_tensors,
    read_json,
    read_json_lines,
    read_list,
    read_object,
    read_sealed,
    save_tensors,
    temporary_folder,
    write_json,
    write_text_atomic,
)

ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # SHA-256 of "abc", FIPS 180-2


def test_digest_separates_parts():
    assert digest("ab", "c") != digest("a", "bc")
    assert digest("abc") != digest("abc", "")
    assert digest("abc") == digest(b"abc")
    assert digest("b", "a") != digest("a", "b")


@pytest.mark.parametrize("bytes_", [0, 1, 2**16 - 8, 2**16 - 1, 2**16, 2**17])
def test_digest_is_that_of_all_parts_and_their_lengths_whatever_their_size(bytes_):
    parts = [b"first", b"x" * bytes_, "é" * 3, *["short"] * 20_000, b"y" * bytes_]
    data = [part.encode() if isinstance(part, str) else part for part in parts]
    expected = hashlib.sha256(b"".join(len(part).to_bytes(8, "big") + part for part in data)).hexdigest()
    state = Digest()
    state.add(*parts[:3])
    state.hex()
    state.add(*parts[3:])
    assert digest(*parts) == digest_all(iter(parts)) == state.hex() == expected


def test_file_digest_is_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert file_digest(tmp_path / "a") == ABC


def test_text_is_utf8_in_a_new_folder_and_readable_by_others(tmp_path):
    path = tmp_path / "new" / "folder" / "a.txt"
    write_text_atomic(path, "Straße\n")
    assert path.read_bytes() == "Straße\n".encode()
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_json_round_trip(tmp_path):
    content = {"a": [1, 2.5, None, True], "é": "ü"}
    write_json(tmp_path / "a.json", content)
    assert read_json(tmp_path / "a.json") == content


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_refuses_what_is_not_finite_and_keeps_the_old_file(tmp_path, value):
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"a": value})
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("stage", ["write", "fsync", "rename"])
def test_a_failure_in_the_middle_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, stage):
    path = tmp_path / "a.txt"
    write_text_atomic(path, "old")

    def fail(*_, **__):
        raise OSError("no space left")

    target = {
        "write": (files.Path, "write_bytes"),
        "fsync": (files.os, "fsync"),
        "rename": (files.Path, "replace"),
    }
    monkeypatch.setattr(*target[stage], fail)
    with pytest.raises(OSError, match="no space left"):
        write_text_atomic(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_file_appears_only_when_it_is_whole(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    seen = []
    monkeypatch.setattr(files.os, "fsync", lambda _: seen.append(path.exists()))
    write_text_atomic(path, "whole")
    assert seen == [False]
    assert path.read_text() == "whole"


def test_an_interrupt_while_tensors_are_written_leaves_the_old_file(tmp_path, monkeypatch):
    import safetensors.torch

    path = tmp_path / "a.safetensors"
    save_tensors(path, {"x": torch.ones(2)})

    def interrupted(tensors, filename, metadata=None):
        filename.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(safetensors.torch, "save_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_tensors(path, {"x": torch.zeros(2)})
    assert torch.equal(load_tensors(path)["x"], torch.ones(2))
    assert list(tmp_path.iterdir()) == [path]


def test_tensors_round_trip_whatever_their_memory(tmp_path):
    base = torch.randn(2, 3, 4, 5)
    tensors = {
        "plain": base,
        "transposed": base.mT,
        "channels_last": base.contiguous(memory_format=torch.channels_last),
        "shared": base[0],  # safetensors refuses shared memory; a copy must be stored
        "expanded": torch.ones(1).expand(3),
        "whole": torch.arange(3),
        "half": base.half(),
        "leaf": base.clone().requires_grad_(),
        "scalar": torch.tensor(0.1, dtype=torch.float64),
    }
    save_tensors(tmp_path / "a.safetensors", tensors, {"kind": "test"})
    loaded = load_tensors(tmp_path / "a.safetensors")
    assert loaded.keys() == tensors.keys()
    for name, value in tensors.items():
        assert torch.equal(loaded[name], value) and loaded[name].dtype == value.dtype, name
        assert not loaded[name].requires_grad
    with open_tensors(tmp_path / "a.safetensors") as stored:
        assert stored.metadata() == {"kind": "test"}


@pytest.mark.parametrize("read", [read_json, load_tensors, open_tensors])
def test_missing_file_says_which_and_what_to_do(tmp_path, read):
    with pytest.raises(ArtifactError, match="a.bin does not exist; run the stage that makes it first"):
        read(tmp_path / "a.bin")


DEEP = b"[" * 100_000
HUGE = b"[" + b"9" * 5000 + b"]"


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", DEEP, HUGE, b"[1e999]", b"[-1e999]", b"[NaN]"])
def test_damaged_json(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"a\.json is not valid JSON .*delete it"):
        read_json(tmp_path / "a.json")


@pytest.mark.parametrize("kept", [0, 4, 20, -4])
def test_damaged_safetensors(tmp_path, kept):
    path = tmp_path / "a.safetensors"
    save_tensors(path, {"x": torch.randn(10)})
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ArtifactError, match=r"a\.safetensors is damaged .*delete it"):
        load_tensors(path)


def test_json_lines_are_added_whole(tmp_path):
    path = tmp_path / "a.jsonl"
    assert read_json_lines(path) == []
    for number in (1, 2):
        append_json_line(path, {"number": number})
    assert [json.loads(line)["number"] for line in path.read_text().splitlines()] == [1, 2]
    with pytest.raises(ValueError, match="not JSON compliant"):
        append_json_line(path, {"number": float("nan")})
    assert read_json_lines(path) == [{"number": 1}, {"number": 2}]
    whole = path.read_bytes()
    for line in (b"{", b"[]", b"\xff", b"[" * 10**5, b'{"a": ' + b"9" * 5000 + b"}", whole.replace(b": 2,", b": 3,")):
        path.write_bytes(whole + line)
        with pytest.raises(ArtifactError, match=r"a\.jsonl is damaged: line [34] .*delete this line"):
            read_json_lines(path)


def test_every_flipped_bit_of_a_json_line_is_found_or_changes_nothing(tmp_path):
    path = tmp_path / "a.jsonl"
    append_json_line(path, {"method": "random", "recall": 12.5})
    whole = path.read_bytes()
    for place in range(len(whole) - 1):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            (found,) = read_json_lines(path)
        except ArtifactError as error:
            assert "a.jsonl is damaged: line " in str(error)
        else:  # the name of the checksum itself
            assert found.items() >= {"method": "random", "recall": 12.5}.items()


def test_json_lines_from_before_there_were_checksums_are_read(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n')
    append_json_line(tmp_path / "a.jsonl", {"a": 2})
    assert read_json_lines(tmp_path / "a.jsonl") == [{"a": 1}, {"a": 2}]


def test_the_same_tensors_give_the_same_bytes(tmp_path):
    metadata = {"kind": "test", "a": "1", "b": "2", "c": "3"}
    written = set()
    for number in range(6):
        save_tensors(tmp_path / f"{number}", {"x": torch.arange(3), "y": torch.ones(2)}, metadata)
        written.add((tmp_path / f"{number}").read_bytes())
    assert len(written) == 1


@pytest.mark.parametrize("metadata", [{}, {"kind": "test"}])
def test_every_flipped_bit_is_found_and_the_file_named(tmp_path, metadata):
    path = tmp_path / "a.safetensors"
    save_tensors(path, {"x": torch.randn(2, 2), "y": torch.arange(2)}, metadata)
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << place % 8)]) + whole[place + 1 :])
        with pytest.raises(ArtifactError, match=r"a\.safetensors is damaged .*; delete it and run the stage again$"):
            load_tensors(path)


def test_a_reader_checks_the_tensors_that_it_reads_and_no_more(tmp_path):
    path = tmp_path / "a.safetensors"
    save_tensors(path, {"x": torch.zeros(4), "y": torch.full((4,), 7.0)})
    content = bytearray(path.read_bytes())
    content[-1] ^= 1  # of y, the last
    path.write_bytes(content)
    with open_tensors(path) as stored:
        assert torch.equal(stored.get_tensor("x"), torch.zeros(4))
        with pytest.raises(ArtifactError, match=r"a\.safetensors is damaged \(the checksum of y does not match\)"):
            stored.get_tensor("y")
        with pytest.raises(ArtifactError, match=r"a\.safetensors is damaged .*absent"):
            stored.get_tensor("absent")


def test_another_shape_or_type_of_the_same_bytes_is_found(tmp_path):
    path = tmp_path / "a.safetensors"
    save_tensors(path, {"x": torch.zeros(2, 3)})
    whole = path.read_bytes()
    for old, new in ((b"[2,3]", b"[3,2]"), (b"F32", b"I32")):
        path.write_bytes(whole.replace(old, new))
        with pytest.raises(ArtifactError, match="the checksum of x does not match"):
            load_tensors(path)


@pytest.mark.parametrize("metadata", [None, {}, {"kind": "checkpoint", "progress": "{}"}])
def test_files_from_before_there_were_digests_are_read(tmp_path, metadata):
    save_file({"x": torch.ones(2)}, tmp_path / "a.safetensors", metadata)
    with open_tensors(tmp_path / "a.safetensors") as stored:
        assert stored.metadata() == (metadata or {})
    assert torch.equal(load_tensors(tmp_path / "a.safetensors")["x"], torch.ones(2))


LEAVER = """
import os, signal, sys
from pathlib import Path
from pairstill.storage import files

files.os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)
files.write_text_atomic(Path(sys.argv[1]), "never")
"""


def test_what_a_killed_process_left_goes_with_the_next_write(tmp_path):
    path = tmp_path / "a.txt"
    write_text_atomic(path, "old")
    subprocess.run([sys.executable, "-c", LEAVER, str(path)], timeout=60)
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2
    (tmp_path / ".a.txt.empty.tmp").mkdir()
    with temporary_folder(path) as folder:
        assert set(tmp_path.iterdir()) == {path, folder}, "what was left is gone"
        write_text_atomic(path, "new")
        assert folder.is_dir(), "of a process that still writes nothing is taken"
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_text() == "new"


@pytest.fixture
def full_disk(tmp_path):
    """A file system of its own with room for 64 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a file system takes root")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_is_named_and_costs_nothing_that_was_there(full_disk):
    text, tensors = full_disk / "a.txt", full_disk / "a.safetensors"
    write_text_atomic(text, "old")
    save_tensors(tensors, {"x": torch.ones(2)})
    for write in (
        lambda: write_text_atomic(text, "x" * 10**5),
        lambda: save_tensors(tensors, {"x": torch.ones(10**5)}),
    ):
        with pytest.raises(StorageError, match=r"cannot be written \(.*No space left on device.*\); .*Make room"):
            write()
    assert text.read_text() == "old" and torch.equal(load_tensors(tensors)["x"], torch.ones(2))
    assert {path.name for path in full_disk.iterdir()} == {"a.txt", "a.safetensors"}
    write_text_atomic(text, "new")


def test_a_folder_that_turned_read_only_is_named(full_disk):
    path = full_disk / "a.txt"
    write_text_atomic(path, "old")
    subprocess.run(["mount", "-o", "remount,ro", str(full_disk)], check=True)
    with pytest.raises(StorageError, match=rf"{re.escape(str(path))} cannot be written \(Read-only file system\)"):
        write_text_atomic(path, "new")
    assert path.read_text() == "old"


@pytest.mark.parametrize("content", ["", "{}", "[]", "null", '{"b": 1}'])
def test_a_file_that_was_emptied_lacks_what_is_read_of_it(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_text(content)
    for read in (lambda: read_object(path, "a"), lambda: read_sealed(path, "a"), lambda: read_json_lines(path, "a")):
        with pytest.raises(ArtifactError, match=r"x\.json is (damaged|not valid JSON)"):
            read()


@pytest.mark.parametrize("content", ["", "{}", "[]", "null", "[{}]", '[{"a": 1, "b": 2}]', "[1]"])
def test_a_list_that_was_emptied_is_damaged(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(ArtifactError, match=r"x\.json is (damaged|not valid JSON)"):
        read_list(path, "a")
    path.write_text('[{"a": 1}]')
    assert read_list(path, "a") == [{"a": 1}]


@pytest.mark.parametrize("place", ["a pipe", "a device", "a folder"])
def test_what_is_no_file_is_not_waited_for(tmp_path, place):
    path = tmp_path / "a.json"
    match place:
        case "a pipe":
            os.mkfifo(path)
        case "a device":
            path.symlink_to("/dev/zero")
        case _:
            path.mkdir()
    with pytest.raises(ArtifactError, match=r"a\.json cannot be read \(it is not a file\)"):
        read_json(path)
    with pytest.raises(OSError, match="it is not a file"):
        file_digest(path)
