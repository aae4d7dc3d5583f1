"""Wrong usage: what it is told, and how shortly."""

import pytest

from pairstill.cli import COMMANDS, main
from pairstill.cli.usage import Parser, positionals_first


@pytest.fixture
def refused(capsys, tmp_path, monkeypatch):
    """Return the lines of a command line that is wrong usage; what a mistake would make lands in a folder of tests."""
    monkeypatch.chdir(tmp_path)

    def lines(*arguments):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 2
        out, err = capsys.readouterr()
        assert out == "" and err.startswith("pairstill: error: ") and "usage:" not in err
        return err.splitlines()

    return lines


@pytest.mark.parametrize(
    ("arguments", "message", "help_of"),
    [
        (["run", "--data.roott", "x"], "there is no option --data.roott; did you mean --data.root?", "run"),
        (
            ["run", "--distil.outer_steps", "3"],
            "there is no option --distil.outer_steps; did you mean --distill.phases '[{outer_steps: ...}]' or "
            "--distill.inner_steps?",
            "run",
        ),
        (
            ["evaluate", "--image-encodr=a"],
            "there is no option --image_encodr; did you mean --image_encoder?",
            "evaluate",
        ),
        (
            ["downstream", "zeroshot", "--zeroshot.clases", "3"],
            "there is no option --zeroshot.clases; did you mean --zeroshot.classes?",
            "downstream zeroshot",
        ),
        (["run", "--xyzzy", "3"], "there is no option --xyzzy.", "run"),
        (["run", "extra"], "got 'extra', which belongs to no option", "run"),
        (["run", "--seed"], "--seed: a value is missing", "run"),
        (["run", "--teacher.epochs", "many"], "teacher.epochs: got many. Allowed: a whole number", "run"),
        (["run", "--threads", "many"], "threads: got many. Allowed: a whole number or null", "run"),
        (["run", "--distill.loss", "wbc"], "distill.loss: got wbc; did you mean wbce? Allowed: wbce, infonce", "run"),
        (
            ["run", "--distill.phases", "[{num_pair: 3}]"],
            "there is no setting distill.phases.num_pair; did you mean --distill.phases '[{num_pairs: ...}]'?",
            "run",
        ),
        (
            ["run", "--distill.phases.outer_steps", "3"],
            "there is no setting distill.phases.outer_steps; did you mean --distill.phases '[{outer_steps: ...}]'?",
            "run",
        ),
        (
            ["run", "--distill.auto_phases.min_pair", "3"],
            "there is no setting distill.auto_phases.min_pair; did you mean --distill.auto_phases.min_pairs?",
            "run",
        ),
        (["export", "a"], "missing: --format, --out", "export"),
        (["compare"], "missing: RUNS", "compare"),
        (["analyze"], "missing: ANALYSIS, one of gradients, teachers, trajectories, proposition", "analyze"),
        (["completion", "fishy"], "shell: got 'fishy'. Allowed: bash, zsh", "completion"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_error_is_short_names_what_is_near_and_says_where_help_is(refused, arguments, message, help_of):
    assert refused(*arguments) == [f"pairstill: error: {message}", f"All that is allowed: pairstill {help_of} --help"]


def test_a_misspelt_command(refused):
    error, where = refused("distil", "--seed", "3")
    assert error.startswith("pairstill: error: COMMAND: got 'distil'; did you mean distill? Allowed: run, prepare, ")
    assert all(command.name in error for command in COMMANDS)
    assert where == "All that is allowed: pairstill --help"


def test_an_option_is_not_taken_by_its_beginning(refused):
    assert refused("run", "--data.sourc", "scenes")[0].endswith("did you mean --data.source?")


@pytest.mark.parametrize(
    "others",
    [
        ["run", "--teacher.epochs", "many"],
        ["run", "--data.source", "tabel"],
        ["run", "--config", "no_such_file.yaml"],
        ["run", "--seed"],
        ["analyze", "gradients", "--teacher.epochs", "many"],
    ],
    ids=" ".join,
)
def test_what_there_is_not_is_told_before_anything_else(refused, others):
    command = others[:2] if others[0] == "analyze" else others[:1]
    found = refused(*command, "--data.rot", "x", "--foo=1", "--data.rot", "y", *others[len(command) :])
    assert found == [
        "pairstill: error: there is no option --data.rot; did you mean --data.root?",
        "there is no option --foo.",
        f"All that is allowed: pairstill {' '.join(command)} --help",
    ]


def test_settings_of_a_file_that_there_are_not_are_told_before_anything_else(refused, tmp_path):
    (tmp_path / "a.yaml").write_text(
        "teacher: {epochs: many, epoks: 2}\ndistill: {auto_phases: {max_phase: 2}}\nfoo: {}"
    )
    assert refused("run", "--config", "a.yaml", "--teacher.batch_size", "many")[:-1] == [
        "pairstill: error: in a.yaml, there is no setting teacher.epoks; did you mean teacher.epochs?",
        "in a.yaml, there is no setting distill.auto_phases.max_phase; did you mean distill.auto_phases.max_phases?",
        "in a.yaml, there is no setting foo.",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("distill: {inner_step: 1}", "there is no setting distill.inner_step; did you mean distill.inner_steps?"),
        ("distil: {x: 1}", "there is no setting distil.x; did you mean distill?"),
        ("teacher: {epochs: many}", "teacher.epochs: got many. Allowed: a whole number"),
    ],
)
def test_a_mistake_in_a_file_of_settings(refused, tmp_path, text, message):
    (tmp_path / "a.yaml").write_text(text)
    assert refused("run", "--config", "a.yaml")[0] == f"pairstill: error: in a.yaml, {message}"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("distill: {inner_steps: null}", "distill.inner_steps"),
        ("distill:\n  inner_steps:", "distill.inner_steps"),
        ("distill: {outer: {momentum: null}}", "distill.outer.momentum"),
        ("evaluate: {methods: null}", "evaluate.methods"),
        ("distill: {phases: [{num_pairs: null, outer_steps: 1}]}", "distill.phases[0].num_pairs"),
        ("distill: {auto_phases: {min_pairs: null}}", "distill.auto_phases.min_pairs"),
        ("image: null", "image"),
        ("image: []", "image"),
    ],
)
def test_null_stands_only_where_it_means_something(refused, tmp_path, text, name):
    (tmp_path / "settings.yaml").write_text(text)
    (first, _) = refused("run", "--config", "settings.yaml", "--run_dir", "none")
    assert first.removeprefix("pairstill: error: ").removeprefix("in settings.yaml, ").startswith(f"{name}: got ")
    assert "leave it out" in first and not (tmp_path / "none").exists()


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_options_that_are_not_given_are_no_mistake(command):
    parser = command.parser([])
    parser.instantiate(parser.get_defaults())


def test_a_mistake_in_an_option_is_not_laid_to_a_file(refused, tmp_path):
    (tmp_path / "a.yaml").write_text("teacher: {epochs: 3}")
    error, _ = refused("run", "--config", "a.yaml", "--teacher.epochs", "many")
    assert error == "pairstill: error: teacher.epochs: got many. Allowed: a whole number"


def test_of_several_files_the_one_with_the_mistake_is_named(refused, tmp_path):
    (tmp_path / "a.yaml").write_text("teacher: {epoch: 3}")
    (tmp_path / "b.yaml").write_text("teacher: {epochs: 3}")
    assert (
        "in a.yaml, there is no setting teacher.epoch;" in refused("run", "--config", "a.yaml", "--config", "b.yaml")[0]
    )


def test_of_several_processes_an_error_says_which_it_is_of(capsys, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(SystemExit):
        main(["run", "--xyzzy"])
    assert capsys.readouterr().err.startswith("pairstill: error on rank 1: there is no option --xyzzy.")


@pytest.mark.parametrize(
    ("arguments", "ordered"),
    [
        ("t --scale s DATA W", "t DATA W --scale s"),
        ("--scale=s t --list DATA", "t DATA --scale=s --list"),
        ("t --seed -1 DATA", "t DATA --seed -1"),
        ("t --list -- --scale", "t --list -- --scale"),
        ("t --scal s DATA", "t --scal s DATA"),
        ("t DATA --scale", "t DATA --scale"),
    ],
)
def test_what_belongs_to_no_option_may_stand_anywhere(arguments, ordered):
    parser = Parser()
    parser.add_argument("--scale")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--list", action="store_true")
    assert positionals_first(parser, arguments.split()) == ordered.split()


@pytest.mark.parametrize("option", ["--data", "--distill.phases", "--config"])
def test_yaml_in_options_is_read_within_the_bounds_of_settings(option, capsys):
    aliases = "[" * 60 + "]" * 60
    try:
        assert main(["run", option, aliases]) == 2
    except SystemExit as stopped:
        assert stopped.code == 2
    assert "nested deeper than 50 levels" in capsys.readouterr().err
