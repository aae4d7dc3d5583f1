"""Every analysis of a tiny run, from the command line."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pairstill.cli import main
from pairstill.storage import load_tensors, read_json, save_tensors

ALL = ("--teacher.keep", "all")
OWN: dict[str, tuple[str, ...]] = {
    "gradients": ("--pairs", "5"),
    "teachers": ("--steps", "2", "--students", "1", "--last_starts", "[0,2]"),
    "trajectories": (),
    "proposition": ("--pairs", "4", "--experts", "1", "--fractions", "2", "--iterations", "3"),
}
FIGURES = {
    "gradients": ["cosines", "norms", "plane"],
    "teachers": ["recall"],
    "trajectories": ["angles", "distances", "straightness", "view"],
    "proposition": ["differences", "terms"],
}


FROZEN = ("--image.trainable", "false", "--heads.image", "true", "--heads.width", "8")


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One run with a frozen tower, whose teachers all analyses share."""
    return tmp_path_factory.mktemp("analyses") / "run"


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("name", OWN)
def test_an_analysis_writes_its_figures_with_their_data(
    tiny: Callable[..., list[str]], run_dir: Path, name: str
) -> None:
    assert main(["analyze", *tiny(name, run_dir, *FROZEN, *ALL, *OWN[name])]) == 0
    written = _files(run_dir / "analysis" / name)
    expected = {f"{figure}.{kind}" for figure in FIGURES[name] for kind in ("png", "svg", "csv")}
    assert set(written) == expected | {"summary.json"}
    assert json.loads(written["summary.json"])["analysis"] == name


def test_a_trained_tower_is_measured_by_its_pixels(tiny: Callable[..., list[str]], tmp_path: Path) -> None:
    few = ("--pairs", "4", "--experts", "1")
    assert main(["analyze", *tiny("gradients", tmp_path / "run", *ALL, *few)]) == 0
    pixels = load_tensors(tmp_path / "run" / "analysis" / "gradients" / "work" / "gradients.safetensors")["sum"]
    assert pixels.shape == (2 * 3, 4 * 3 * 16 * 16)  # both paths, three starts
    own = ("--fractions", "1", "--iterations", "1")
    assert main(["analyze", *tiny("proposition", tmp_path / "run", *ALL, *few, *own)]) == 0


def test_what_was_killed_goes_on_to_the_same_files(tiny: Callable[..., list[str]], run_dir: Path) -> None:
    command = ["analyze", *tiny("gradients", run_dir, *FROZEN, *ALL, *OWN["gradients"])]
    folder = run_dir / "analysis" / "gradients"
    state = folder / "work" / "gradients.safetensors"
    assert main([*command, "--experts", "1"]) == 0
    first = load_tensors(state)
    assert main(command) == 0  # other settings: what was there does not count
    whole = _files(folder)
    save_tensors(state, first)  # as it is after the first expert
    assert main(command) == 0
    assert _files(folder) == whole


def test_more_last_starts_leave_what_is_distilled(tiny: Callable[..., list[str]], run_dir: Path) -> None:
    command = ["analyze", *tiny("teachers", run_dir, *FROZEN, *ALL, "--steps", "2")]
    work = run_dir / "analysis" / "teachers" / "work"
    assert main([*command, "--students", "1", "--last_starts", "[1]"]) == 0
    pairs, recalls = work / "until_001.safetensors", work / "until_001.students.json"
    made, measured = pairs.stat().st_mtime_ns, read_json(recalls)
    assert main([*command, "--students", "2", "--last_starts", "[0,1]"]) == 0
    assert pairs.stat().st_mtime_ns == made and (work / "until_000.safetensors").is_file()
    assert read_json(recalls)[:1] == measured and len(read_json(recalls)) == 2


def test_snapshots_that_are_not_there_are_told_of_before_any_work(
    tiny: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["analyze", *tiny("trajectories", tmp_path / "run", "--reuse", "false")]) == 2
    assert "teacher.keep all" in capsys.readouterr().err
    assert not (tmp_path / "run" / "trajectories").exists()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("teachers", ("--last_starts", "[9]"), "up to 2"),
        ("gradients", ("--experts", "5"), "the run has 2"),
        ("gradients", ("--pairs", "99"), "has 24 images"),
    ],
)
def test_what_cannot_be_measured_is_said(
    tiny: Callable[..., list[str]],
    run_dir: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    options: tuple[str, ...],
    message: str,
) -> None:
    assert main(["analyze", *tiny(name, run_dir, *FROZEN, *ALL, *options)]) in (1, 2)
    assert message in capsys.readouterr().err
