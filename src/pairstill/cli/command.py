"""What a command is, and what commands share."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

from jsonargparse import (
    ActionConfigFile,  # pyright: ignore[reportPrivateImportUsage] - importable, but not listed by the package
    ArgumentParser,
    Namespace,
)

from pairstill.cli.by_method import fixed_settings, for_method, is_a_file, method_of, refuse_options
from pairstill.cli.usage import Parser, refuse_unknown_settings
from pairstill.config import RunConfig, TrajectoryConfig
from pairstill.config.yaml_files import BASE, read_settings, to_yaml
from pairstill.core.errors import ArtifactError, ConfigError
from pairstill.methods import find_method, with_method
from pairstill.methods.base import Method
from pairstill.methods.stored import todays


@dataclass(frozen=True)
class Command:
    """One command of the command line.

    Attributes:
        name: as people type it.
        text: one line of help.
        parser: builds the parser of its options from its arguments, which may name the method whose settings are asked
            for; imports nothing heavy, so that help and usage errors answer at once.
        run: does it, given the command's own parser and its options as parsed, and returns the exit status.
        nest: adds commands below this one to its parser, from the arguments again, or None.
        expand: returns its arguments with what they imply, before they are parsed, or None.
    """

    name: str
    text: str
    parser: Callable[[Sequence[str]], ArgumentParser]
    run: Callable[[ArgumentParser, Namespace], int]
    nest: Callable[[ArgumentParser, Sequence[str]], None] | None = None
    expand: Callable[[list[str]], list[str]] | None = None


def plain_parser(name: str, text: str) -> ArgumentParser:
    """Return a parser without options."""
    return Parser(prog=f"pairstill {name}", description=sentence(text))


class SettingsParser(Parser):
    """A parser whose options are the fields of `RunConfig`, with the settings of one method."""

    def __init__(self, *args: Any, method: str = RunConfig.method, **kwargs: Any) -> None:
        """Make the parser as the library does, which makes more of its kind for groups; the options come after."""
        super().__init__(*args, **kwargs)
        self.method = find_method(method)
        self.notes: list[str] = []

    def dump(self, cfg: Namespace, *args: Any, **kwargs: Any) -> str:
        """Return the settings as YAML, as the method has them: `--print_config` shows what is run."""
        if args or any(kwargs.values()):
            return super().dump(cfg, *args, **kwargs)
        return to_yaml(with_method(config_of(self.instantiate(cfg))))


class FileSettings(ActionConfigFile):
    """Reads a settings file, on top of the files that its key `base` names, as what it means to the method."""

    def __call__(self, parser: Any, cfg: Any, values: Any, option_string: str | None = None) -> None:
        """Put the file's settings on those so far."""
        if is_a_file(values):
            try:
                layers = read_settings(Path(values), todays)
            except ConfigError as error:
                raise TypeError(str(error)) from error  # which the parser reports as wrong usage
            parser.note_file(values, layers)
            layers, vain = for_method(layers, parser.method)
            refuse_unknown_settings(parser, values, layers)
            if vain:
                parser.notes.append(f"method {parser.method.name} leaves out of {values}: {', '.join(vain)}")
            values = json.dumps(layers)  # which is YAML too, and takes no time
        super().__call__(parser, cfg, values, option_string)


def settings_parser(name: str, text: str, arguments: Sequence[str] = ()) -> SettingsParser:
    """Return a parser whose options are the fields of `RunConfig`, with the settings of the method that is named.

    Args:
        name: of the command.
        text: one line of help.
        arguments: the command's, of which those are looked at that name a method or its settings.

    Raises:
        ConfigError: there is no such method, or it does not take one of the options.
    """
    method = method_of(arguments)
    refuse_options(method, arguments)
    return _parser_of(method, name, text)


@cache
def _parser_of_rows(method: str) -> SettingsParser:
    return _parser_of(find_method(method), "run", "one run")


def _parser_of(method: Method, name: str, text: str) -> SettingsParser:
    parser = SettingsParser(
        method=method.name,
        prog=f"pairstill {name}",
        description=f"{sentence(text)} Settings come from --config files, then from options; later ones win."
        + fixed_settings(method),
    )
    parser.add_argument(
        "--config",
        action=FileSettings,
        help=f"YAML file with settings; may be given several times, and may name files that it builds on as `{BASE}`",
    )
    parser.add_class_arguments(RunConfig, skip={"distill"})
    parser.add_class_arguments(method.settings, "distill")
    if issubclass(method.settings, TrajectoryConfig):
        # as plain values, which --print_config can write
        parser.set_defaults({"distill.phases": [asdict(phase) for phase in TrajectoryConfig().phases]})
    return parser


def settings_from(arguments: Sequence[str]) -> RunConfig:
    """Return the settings that options of `pairstill run` amount to.

    Raises:
        ConfigError: there is no such method, or it does not take one of the options.
    """
    method = method_of(arguments)
    refuse_options(method, arguments)
    parser = _parser_of_rows(method.name)
    return config_of(parser.instantiate(parser.parse_args(list(arguments))))


def run_config(parser: ArgumentParser, options: Namespace) -> RunConfig:
    """Return the settings of a command whose parser is a `settings_parser`, and say what its files gave in vain.

    Args:
        parser: the command's parser.
        options: its options as parsed.
    """
    tell_left_out(parser)
    return config_of(parser.instantiate(options))


def tell_left_out(parser: ArgumentParser) -> None:
    """Say what settings files gave in vain to a command, or to one of those that stand below it."""
    for note in dict.fromkeys(_notes(parser)):
        print(f"pairstill: {note}", file=sys.stderr)


def _notes(parser: ArgumentParser) -> Iterator[str]:
    if isinstance(parser, SettingsParser):
        yield from parser.notes
    for action in parser._actions:
        for below in (getattr(action, "_name_parser_map", None) or {}).values():
            yield from _notes(below)


def config_of(values: Namespace) -> RunConfig:
    """Return the settings among the instantiated options of a `settings_parser`."""
    return RunConfig(**{field.name: values[field.name] for field in fields(RunConfig)})


def settings_of_run(run: Path) -> RunConfig:
    """Return the settings that a run's folder was made with.

    Raises:
        ArtifactError: the folder holds no run, or its settings are damaged.
    """
    from pairstill.run.folder import read_settings  # which is too much for --help

    path = run / "config.yaml"
    if not path.is_file():
        raise ArtifactError(f"{run} is no run: {path} does not exist; give the run_dir of a run")
    read_settings(path)
    return settings_from(["--config", str(path), "--run_dir", str(run)])


def sentence(text: str) -> str:
    """Return a line of help as a sentence."""
    return text[0].upper() + text[1:] + "."
