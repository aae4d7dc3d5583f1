import io
import json
import os
import signal
import subprocess
import sys
from contextlib import redirect_stderr
from functools import cache
from pathlib import Path

import pytest
import yaml

from pairstill import __version__
from pairstill.cli import COMMANDS, answered, build_parser, command, main
from pairstill.cli.stages import STAGES
from pairstill.config import RunConfig
from pairstill.core.errors import ConfigError, PairstillError
from pairstill.methods import with_method
from pairstill.run.folder import plain

CONFIGS = Path(__file__).parents[2] / "configs"
SHIPPED = sorted(path for path in CONFIGS.rglob("*.yaml") if path != CONFIGS / "paper" / "tables.yaml")
HEAVY = ("torch", "timm", "transformers", "kornia", "numpy")


def settings_of(capsys, *arguments):
    """The settings that a command line amounts to, as `--print_config` shows them."""
    with pytest.raises(SystemExit) as caught:
        main([*arguments, "--print_config"])
    assert caught.value.code == 0
    return yaml.safe_load(capsys.readouterr().out)


def refused(capsys, *arguments):
    """The message of a command line that is wrong usage."""
    try:
        code = main(arguments)
    except SystemExit as caught:
        code = caught.code
    assert code == 2
    out, err = capsys.readouterr()
    assert out == ""
    return err


@pytest.mark.parametrize("command", [[], *([name] for name in STAGES), ["quickstart"]], ids=str)
def test_help(capsys, command):
    with pytest.raises(SystemExit) as caught:
        main([*command, "--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith("usage: pairstill")
    assert shown.replace("\n", "").isprintable()
    expected = [*STAGES, "quickstart"] if not command else ["--run_dir"]
    assert all(word in shown for word in expected)


def test_a_terminal_that_has_not_all_letters():
    terminal = io.TextIOWrapper(io.BytesIO(), "ascii")
    with redirect_stderr(terminal), pytest.raises(SystemExit):
        main(["gr\u00fcn"])
    assert terminal.errors == "strict"
    terminal.flush()
    assert b"'gr?n'" in terminal.buffer.getvalue()


@pytest.mark.parametrize(
    "arguments", [["report", "a\0b"], ["run", "--seed=\0"], ["export", "a", "--out", "\0"], ["\0"]]
)
def test_what_no_shell_can_give(capsys, arguments):
    assert "holds a NUL" in refused(capsys, *arguments)


@pytest.mark.parametrize("name", STAGES)
def test_help_of_a_stage_explains_every_setting(capsys, name):
    with pytest.raises(SystemExit):
        main([name, "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    for option in ("--distill.outer.lr_images", "--teacher.num_experts", "--data.scenes.train", "--device"):
        assert option in shown
    assert "independent teachers" in shown


LIGHT = [
    *([command.name, "--help"] for command in COMMANDS),
    *(["analyze", "gradients", "--help"], ["bench", "recall", "--help"], ["downstream", "zeroshot", "--help"]),
    *(["--help"], ["--version"], ["methods"], ["methods", "--json"], ["reproduce", "--list"]),
    *(["run", "--no_such_key", "1"], ["run", "--print_config"], ["no_such_command"]),
]


def test_help_lists_and_usage_errors_load_nothing_heavy():
    code = (
        "import json, sys\nfrom pairstill.cli import main\n"
        "for arguments in json.loads(sys.argv[1]):\n"
        "    try:\n        main(arguments)\n    except SystemExit:\n        pass\n"
        f"    loaded = [name for name in {HEAVY} if name in sys.modules]\n"
        "    if loaded:\n        sys.exit(f'{arguments} loaded {loaded}')\n"
    )
    found = subprocess.run([sys.executable, "-c", code, json.dumps(LIGHT)], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert "PTM-ST" in found.stdout and "there is no option --no_such_key" in found.stderr


def test_version(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.strip() == f"pairstill {__version__}"


def test_module_runs_the_command_line():
    found = subprocess.run([sys.executable, "-m", "pairstill", "--version"], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == f"pairstill {__version__}"


def test_no_command_prints_help_and_fails(capsys):
    assert main([]) == 2
    assert "quickstart" in capsys.readouterr().out


def test_defaults_are_those_of_the_settings(capsys):
    assert settings_of(capsys, "run") == plain(RunConfig())


def test_printed_settings_parse_back(capsys, tmp_path):
    arguments = ["run", "--seed", "3", "--distill.outer.lr_images", "0.5", "--evaluate.methods", "[random]"]
    printed = settings_of(capsys, *arguments)
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(printed))
    assert settings_of(capsys, "run", "--config", str(tmp_path / "a.yaml")) == printed
    assert (printed["seed"], printed["distill"]["outer"]["lr_images"]) == (3, 0.5)
    assert printed["evaluate"]["methods"] == ["random"]


def test_later_settings_win(capsys, tmp_path):
    (tmp_path / "a.yaml").write_text("seed: 1\ndevice: cpu\nstudent: {epochs: 7, batch_size: 9}\n")
    (tmp_path / "b.yaml").write_text("seed: 2\nstudent: {epochs: 8}\n")
    files = ["--config", str(tmp_path / "a.yaml"), "--config", str(tmp_path / "b.yaml")]
    settings = settings_of(capsys, "run", *files, "--seed", "3")
    assert (settings["seed"], settings["device"]) == (3, "cpu")
    assert (settings["student"]["epochs"], settings["student"]["batch_size"]) == (8, 9)


@pytest.mark.parametrize("place", range(4))
def test_options_override_files_wherever_they_stand(capsys, tmp_path, place):
    (tmp_path / "a.yaml").write_text("method: ptm_st\nseed: 1\n")
    (tmp_path / "b.yaml").write_text("device: cpu\nseed: 2\n")
    options = ["--method", "lors", "--seed=5"]
    files = [f"--config={tmp_path / 'a.yaml'}", "--config", str(tmp_path / "b.yaml")]
    arguments = [
        [*files, *options],
        [*options, *files],
        [*options[:2], *files, "--seed=5"],
        [files[0], *options, *files[1:]],
    ]
    settings = settings_of(capsys, "run", *arguments[place])
    assert (settings["method"], settings["device"], settings["seed"]) == ("lors", "cpu", 5)


def test_files_of_settings_stay_behind_the_name_of_the_command_below(capsys, tmp_path):
    (tmp_path / "a.yaml").write_text("seed: 1\n")
    arguments = ["gradients", "--seed", "5", "--config", str(tmp_path / "a.yaml")]
    assert settings_of(capsys, "analyze", *arguments)["seed"] == 5


@pytest.mark.parametrize("name", STAGES)
def test_unknown_option(capsys, name):
    assert "no_such_key" in refused(capsys, name, "--teacher.no_such_key", "1")


@pytest.mark.parametrize(
    "text", ["no_such_key: 1\n", "distill: {no_such_key: 1}\n", "distill: {phases: [{no_such_key: 1}]}\n"]
)
def test_unknown_key_in_a_file(capsys, tmp_path, text):
    (tmp_path / "a.yaml").write_text(text)
    assert "no_such_key" in refused(capsys, "run", "--config", str(tmp_path / "a.yaml"))


def test_unknown_command(capsys):
    message = refused(capsys, "no_such_command")
    assert "no_such_command" in message and "distill" in message


def test_missing_file_of_settings(capsys, tmp_path):
    assert "nowhere.yaml" in refused(capsys, "run", "--config", str(tmp_path / "nowhere.yaml"))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--teacher.epochs", "many"], "epochs"),
        (["--distill.loss", "hinge"], "wbce"),
        (["--heads.dropout", "1"], "heads.dropout is 1.0; it must be in [0, 1)"),
        (
            ["--teacher.epochs", "3", "--distill.phases", "[{endpoint: 6}]"],
            "the phases need snapshot 6 but teachers train 3 epochs",
        ),
        (["--image.trainable", "false"], "nothing on the image side can learn"),
    ],
)
def test_bad_value(capsys, tmp_path, arguments, expected):
    message = refused(capsys, "run", "--run_dir", str(tmp_path / "run"), *arguments)
    assert expected in " ".join(message.split())
    assert "Traceback" not in message
    assert not (tmp_path / "run").exists()


def kinds_of_errors(kind=PairstillError):
    """Every kind of error that is raised on purpose."""
    return [found for below in kind.__subclasses__() for found in (below, *kinds_of_errors(below))]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        *((kind("got this"), 2 if issubclass(kind, ConfigError) else 1) for kind in kinds_of_errors()),
        (KeyboardInterrupt(), 130),
    ],
    ids=lambda value: type(value).__name__,
)
def test_errors_become_one_line_and_an_exit_status(capsys, error, code):
    def fail():
        raise error

    assert answered(fail) == code
    out, err = capsys.readouterr()
    assert out == "" and len(err.splitlines()) == 1
    assert err.startswith("pairstill: ")
    assert "interrupted" in err if code == 130 else "error: got this" in err


def test_sigterm_ends_a_command_as_an_interrupt_does(capsys):
    before = signal.getsignal(signal.SIGTERM)
    assert answered(lambda: os.kill(os.getpid(), signal.SIGTERM)) == 143
    assert capsys.readouterr().err == "pairstill: interrupted; the same command goes on from here\n"
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.fixture(scope="module")
def settings_from():
    """Builds the settings that a file amounts to, once."""
    return cache(lambda path: command.settings_from(["--config", str(path)]))


def test_there_are_shipped_settings():
    assert len(SHIPPED) > 0
    assert len(SHIPPED) + 1 == len([p for p in CONFIGS.rglob("*") if p.suffix in (".yaml", ".yml")])


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(CONFIGS)))
def test_shipped_settings_parse(settings_from, path):
    config = with_method(settings_from(path))
    written = yaml.safe_load(path.read_text())
    assert written.keys() <= {*plain(RunConfig()), "base"}
    # a folder of its own for each, so that two shipped runs never mix
    if "run_dir" in written:
        assert config.run_dir == "runs/" + str(path.relative_to(CONFIGS).with_suffix(""))


def test_shipped_settings_without_a_folder_of_their_own_are_layers_or_the_same_run(settings_from):
    by_folder = {}
    for path in SHIPPED:
        config = settings_from(path)
        if config.run_dir != RunConfig().run_dir:  # layers name no folder
            assert by_folder.setdefault(config.run_dir, config) == config, path


def test_a_broken_layer_is_wrong_usage(capsys, tmp_path):
    (tmp_path / "a.yaml").write_text("base: nowhere.yaml\n")
    assert "nowhere.yaml cannot be read" in refused(capsys, "run", "--config", str(tmp_path / "a.yaml"))


def test_the_parser_builds_the_settings_it_prints():
    parser = build_parser()
    parsed = parser.parse_args(["run", "--distill.phases", "[{num_pairs: 5, endpoint: 40, range_end: 20}]"])
    (phase,) = parser.instantiate(parsed).run.distill.phases
    assert (phase.num_pairs, phase.endpoint, phase.range_end) == (5, 40, 20)


@pytest.mark.parametrize("precision", ["tf32", "bfloat16"])
def test_lower_precisions_need_a_gpu(precision, tmp_path, capsys):
    options = ["--device", "cpu", "--image.precision", precision, "--run_dir", str(tmp_path / "run")]
    assert main(["prepare", *options]) == 2
    error = capsys.readouterr().err
    assert f"image.precision is {precision} but the device is cpu" in error and "use float32" in error
