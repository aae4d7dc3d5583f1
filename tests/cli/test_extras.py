"""Completion and the cache, as people use them."""

import subprocess
import sys

import pytest

from pairstill.cli import main


def test_bash_completes_commands_options_and_choices(capsys, tmp_path):
    pytest.importorskip("shtab")
    assert main(["completion", "bash"]) == 0
    (tmp_path / "script").write_text(capsys.readouterr().out)

    def completed(*words):
        code = (
            f'source {tmp_path}/script; COMP_WORDS=({" ".join(words)} "$1"); COMP_CWORD={len(words)}; _shtab_pairstill'
        )
        shell = ["bash", "-c", f'{code}; echo "${{COMPREPLY[@]}}"', "bash"]
        return lambda start: subprocess.run([*shell, start], capture_output=True, text=True).stdout.split()

    assert completed("pairstill")("ev") == ["evaluate"]
    assert completed("pairstill", "run")("--teacher.num") == ["--teacher.num_experts"]
    assert "huggingface" in completed("pairstill", "export", "--format")("hu")


def test_zsh_gets_a_script_too(capsys):
    pytest.importorskip("shtab")
    assert main(["completion", "zsh"]) == 0
    assert capsys.readouterr().out.startswith("#compdef pairstill")


def test_completion_without_its_package(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "shtab", None)  # as where it is not installed
    assert main(["completion", "bash"]) == 1
    assert "pairstill[completion]" in capsys.readouterr().err


def test_the_cache_is_listed_and_removed_by_kind(tmp_path, capsys):
    teachers, texts = f"teachers/{'a' * 24}/epochs_1/expert.safetensors", f"texts/{'b' * 64}/0.safetensors"
    for name, size in ((teachers, 2500), (texts, 10), ("mine/x", 1)):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(b"0" * size)
    assert main(["cache", "--cache_dir", str(tmp_path)]) == 0
    listed = capsys.readouterr().out
    assert "teachers: trajectories" in listed and "2.5 kB" in listed and "mine" not in listed
    assert main(["cache", "--cache_dir", str(tmp_path), "--remove", "teachers"]) == 0
    assert "Removed 2.5 kB (teachers)" in capsys.readouterr().out
    assert not (tmp_path / "teachers").exists() and (tmp_path / "texts").exists()
    assert main(["cache", "--cache_dir", str(tmp_path), "--remove", "all"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]  # what is not ours stays
    with pytest.raises(SystemExit):
        main(["cache", "--remove", "mine"])


def test_the_cache_removes_nothing_where_a_folder_is_the_users(tmp_path, capsys):
    texts, photo = tmp_path / "texts" / ("b" * 64), tmp_path / "images" / "holiday.jpg"
    texts.mkdir(parents=True)
    photo.parent.mkdir()
    photo.write_text("x")
    assert main(["cache", "--cache_dir", str(tmp_path), "--remove", "all"]) == 2
    assert "holds what pairstill did not make ('holiday.jpg'); nothing is removed" in capsys.readouterr().err
    assert photo.read_text() == "x" and texts.is_dir()
    assert main(["cache", "--cache_dir", str(tmp_path), "--remove", "texts"]) == 0
