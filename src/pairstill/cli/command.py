"""What a command is, and what commands share."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jsonargparse import (
    ActionConfigFile,  # pyright: ignore[reportPrivateImportUsage] - importable, but not listed by the package
    ArgumentParser,
    Namespace,
)

from pairstill.cli.usage import Parser
from pairstill.config import DistillConfig, RunConfig
from pairstill.errors import ArtifactError, ConfigError
from pairstill.layers import BASE, read_layers


@dataclass(frozen=True)
class Command:
    """One command of the command line.

    Attributes:
        name: as people type it.
        text: one line of help.
        parser: builds the parser of its options; imports nothing heavy, so that help and usage errors answer at once.
        run: does it, given the command's own parser and its options as parsed, and returns the exit status.
        nest: adds commands below this one to its parser, or None.
        expand: returns its arguments with what they imply, before they are parsed, or None.
    """

    name: str
    text: str
    parser: Callable[[], ArgumentParser]
    run: Callable[[ArgumentParser, Namespace], int]
    nest: Callable[[ArgumentParser], None] | None = None
    expand: Callable[[list[str]], list[str]] | None = None


def plain_parser(name: str, text: str) -> ArgumentParser:
    """Return a parser without options."""
    return Parser(prog=f"pairstill {name}", description=sentence(text))


def _is_a_file(values: str) -> bool:
    """Return whether settings are given as a file, which need not be one that can be read, and not as YAML."""
    try:
        return Path(values).exists()
    except (OSError, ValueError):  # too long for a path, or not allowed in one
        return False


class LayeredSettings(ActionConfigFile):
    """Reads a settings file, on top of the files that its key `base` names."""

    def __call__(self, parser: Any, cfg: Any, values: Any, option_string: str | None = None) -> None:
        """Put the file's settings on those so far."""
        if _is_a_file(values):
            try:
                layers = read_layers(Path(values))
            except ConfigError as error:
                raise TypeError(str(error)) from error  # which the parser reports as wrong usage
            parser.note_file(values, layers)
            values = json.dumps(layers)  # which is YAML too, and takes no time
        super().__call__(parser, cfg, values, option_string)


def settings_parser(name: str, text: str) -> ArgumentParser:
    """Return a parser whose options are the fields of `RunConfig`."""
    parser = Parser(
        prog=f"pairstill {name}",
        description=f"{sentence(text)} Settings come from --config files, then from options; later ones win.",
    )
    parser.add_argument(
        "--config",
        action=LayeredSettings,
        help=f"YAML file with settings; may be given several times, and may name files that it builds on as `{BASE}`",
    )
    parser.add_class_arguments(RunConfig)
    # as plain values, which --print_config can write
    parser.set_defaults({"distill.phases": [asdict(phase) for phase in DistillConfig().phases]})
    return parser


def run_config(parser: ArgumentParser, options: Namespace, *others: str) -> RunConfig:
    """Return the settings of a command whose parser is a `settings_parser`.

    Args:
        parser: the command's parser.
        options: its options as parsed.
        others: options of the command that are not settings.
    """
    return config_of(parser.instantiate(options), *others)


def config_of(values: Namespace, *others: str) -> RunConfig:
    """Return the settings among the instantiated options of a `settings_parser`, without its `others`."""
    settings: dict[str, Any] = dict(vars(values))
    for option in ("config", *others):
        settings.pop(option, None)
    return RunConfig(**settings)


def settings_of_run(run: Path) -> RunConfig:
    """Return the settings that a run's folder was made with.

    Raises:
        ArtifactError: the folder holds no run, or its settings are damaged.
    """
    from pairstill.runfolder import read_settings  # which is too much for --help

    path = run / "config.yaml"
    if not path.is_file():
        raise ArtifactError(f"{run} is no run: {path} does not exist; give the run_dir of a run")
    read_settings(path)
    parser = settings_parser("run", "a run that was made")
    return run_config(parser, parser.parse_args(["--config", str(path), "--run_dir", str(run)]))


def sentence(text: str) -> str:
    """Return a line of help as a sentence."""
    return text[0].upper() + text[1:] + "."
