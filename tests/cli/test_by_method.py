"""The command line of a method: its own settings, what it fixes, and what it takes of a benchmark's files."""

from pathlib import Path

import pytest
import yaml

from pairstill.cli import main
from pairstill.cli.by_method import for_method, method_of
from pairstill.config import RunConfig, TrajectoryConfig
from pairstill.config.yaml_files import plain
from pairstill.methods import METHODS, find_method, with_method

BENCHMARK = str(Path(__file__).parents[2] / "configs" / "flickr8k" / "frozen_200.yaml")


def printed(capsys, *arguments):
    """The settings that `--print_config` shows."""
    with pytest.raises(SystemExit) as caught:
        main(["run", *arguments, "--print_config"])
    assert caught.value.code == 0
    return yaml.safe_load(capsys.readouterr().out)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_what_is_printed_is_what_is_run(capsys, tmp_path, method):
    shown = printed(capsys, "--config", BENCHMARK, "--method", method.name)
    assert shown["distill"].keys() == plain(RunConfig(distill=method.settings()))["distill"].keys()
    # what is printed, given again, is the same run
    (tmp_path / "printed.yaml").write_text(yaml.safe_dump(shown))
    assert printed(capsys, "--config", str(tmp_path / "printed.yaml")) == shown
    assert all(shown["distill"][fixed.name] == fixed.value for fixed in method.fixed)


def test_help_is_of_the_methods_own_settings(capsys):
    with pytest.raises(SystemExit):
        main(["run", "--help", "--method=apm"])
    shown = capsys.readouterr().out
    assert "--distill.projector.weight" in shown and "--distill.shortcut" not in shown
    with pytest.raises(SystemExit):
        main(["run", "--method", "lors", "--help"])
    assert "Method lors fixes distill.images to pixels, distill.phased to false" in " ".join(
        capsys.readouterr().out.split()
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--method", "lors", "--distill.shortcut", "true"],
            "is true, but method lors fixes distill.shortcut to false: it matches recorded trajectories",
        ),
        (["--distill.loss=infonce", "--method=lors"], "fixes distill.loss to wbce: it learns similarities"),
        (["--method=lors", "--distill={ema: true}"], "fixes distill.ema to false"),
        (["--method=mct", "--distill.auto-phases.max-phases=2"], "fixes distill.auto_phases to null"),
        (["--method=apm", "--distill.shortcut=true"], "distill.shortcut means nothing to method apm"),
        (["--method=ncfm", "--distill.phases=[]"], "the pairs and steps are distill.num_pairs and distill.outer_steps"),
        (["--distill.projector.weight=1"], "distill.projector.weight means nothing to method ptm_st"),
        (["--method=loors"], "did you mean lors?"),
    ],
)
def test_options_that_a_method_fixes_or_has_no_use_for_are_refused_with_the_reason(capsys, arguments, message):
    assert main(["run", *arguments]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_options_that_say_what_is_fixed_anyway_are_taken(capsys):
    shown = printed(capsys, "--method=lors", "--distill.shortcut=false", "--distill.range-growth=0")
    assert shown["distill"] == plain(with_method(RunConfig(method="lors")))["distill"]


def test_a_file_of_a_benchmark_says_to_each_method_what_means_something_to_it():
    file = {"distill": {"phases": [{"num_pairs": 9}, {"num_pairs": 5}], "ema_decay": 0.9, "ema": True}, "seed": 1}
    assert for_method(file, find_method("ptm_st")) == (file, ())
    assert for_method(file, find_method("lors")) == (file, ("distill.ema",))
    apm = {"distill": {"num_pairs": 14, "outer_steps": 480}, "seed": 1}
    assert for_method(file, find_method("apm")) == (apm, ("distill.ema_decay", "distill.ema"))
    # and the other way round: as many pairs and steps
    back, vain = for_method(apm | {"distill": {**apm["distill"], "projector": {}}}, find_method("lors"))
    (phase,) = back["distill"]["phases"]
    assert (phase["num_pairs"], phase["outer_steps"], vain) == (14, 480, ("distill.projector",))
    # what no method has is left to be found
    wrong = {"distill": {"inner_stepz": 3}}
    assert all(for_method(wrong, method) == (wrong, ()) for method in METHODS)


@pytest.mark.parametrize("command", [["run"], ["analyze", "gradients"], ["downstream", "zeroshot"]], ids=lambda c: c[0])
def test_what_a_file_says_in_vain_is_told_in_one_line(capsys, tmp_path, command):
    (tmp_path / "file").touch()  # in which no run can be
    run_dir = str(tmp_path / "file" / "run")
    assert main([*command, "--config", BENCHMARK, "--method", "herding", "--run_dir", run_dir]) != 0
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "leaves out" in line]
    assert line.startswith(f"pairstill: method herding leaves out of {BENCHMARK}: distill.lr_image, distill.lr_text")


def test_the_method_is_the_last_that_an_option_or_a_file_names(tmp_path):
    (tmp_path / "base.yaml").write_text("method: lors\n")
    (tmp_path / "row.yaml").write_text("base: base.yaml\nseed: 3\n")
    file = f"--config={tmp_path / 'row.yaml'}"
    assert method_of([]).settings is TrajectoryConfig
    assert [method_of(a).name for a in ([file], [file, "--method", "apm"], ["--method=apm", file])] == [
        "lors",
        "apm",
        "lors",
    ]
