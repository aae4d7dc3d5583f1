import json
import stat

import pytest
import torch

from pairstill import storage
from pairstill.errors import ArtifactError
from pairstill.storage import (
    append_json_line,
    digest,
    file_digest,
    load_tensors,
    open_tensors,
    read_json,
    read_json_lines,
    save_tensors,
    write_json,
    write_text_atomic,
)

ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # SHA-256 of "abc", FIPS 180-2


def test_digest_separates_parts():
    assert digest("ab", "c") != digest("a", "bc")
    assert digest("abc") != digest("abc", "")
    assert digest("abc") == digest(b"abc")
    assert digest("b", "a") != digest("a", "b")


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
        "write": (storage.Path, "write_bytes"),
        "fsync": (storage.os, "fsync"),
        "rename": (storage.Path, "replace"),
    }
    monkeypatch.setattr(*target[stage], fail)
    with pytest.raises(OSError, match="no space left"):
        write_text_atomic(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_file_appears_only_when_it_is_whole(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    seen = []
    monkeypatch.setattr(storage.os, "fsync", lambda _: seen.append(path.exists()))
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


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00"])
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
    assert path.read_text() == '{"number": 1}\n{"number": 2}\n'
    with pytest.raises(ValueError, match="not JSON compliant"):
        append_json_line(path, {"number": float("nan")})
    assert read_json_lines(path) == [{"number": 1}, {"number": 2}]
    path.write_text("{")
    with pytest.raises(ArtifactError, match="a.jsonl is damaged"):
        read_json_lines(path)
