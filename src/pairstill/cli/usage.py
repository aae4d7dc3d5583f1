"""Wrong usage, told in a few lines: what was got, which allowed names are near to it, where all of them are."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from itertools import islice
from typing import Any, NoReturn, get_args, get_origin, get_type_hints

from jsonargparse import ArgumentParser, Namespace, get_loader, set_loader
from jsonargparse._actions import _ActionConfigLoad  # the library tells groups of settings by nothing else
from yaml import YAMLError

from pairstill.cli.runs import error_line
from pairstill.config.yaml_files import check_yaml
from pairstill.core.formatting import did_you_mean, nearest

_NOTHING = object()
_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
    "tuple": "a list in brackets",
    "NoneType": "null",
}


def _bounded_yaml(text: str) -> Any:
    check_yaml(text)
    return _yaml(text)


_yaml = get_loader("yaml")
# what `--data '{...}'` and files named in such places hold is read by the library: within our bounds
set_loader("yaml", _bounded_yaml, exceptions=(YAMLError,))


class Parser(ArgumentParser):
    """A parser whose errors are short, and which takes no option by its beginning alone."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Make the parser as the library does."""
        super().__init__(*args, **{"allow_abbrev": False, **kwargs})
        self._files: dict[str, Mapping[str, Any]] = {}

    def note_file(self, path: str, settings: Mapping[str, Any]) -> None:
        """Keep what a file says, so that an error can name the file that it comes from."""
        self._files[path] = settings

    def file_of(self, name: str, value: str | None = None) -> str | None:
        """Return the last file that names a setting, and gives it this value if one is given."""
        for path, settings in reversed(self._files.items()):
            inner: Any = settings
            for key in name.split("."):
                inner = inner.get(key, _NOTHING) if isinstance(inner, Mapping) else _NOTHING
            if inner is not _NOTHING and value in (None, str(inner)):
                return path
        return None

    def instantiate(self, cfg: Namespace, *args: Any, **kwargs: Any) -> Namespace:
        """Make the settings, in which the library itself would let null stand anywhere."""
        for action in (action for action in self._actions if action.dest in cfg):
            value = cfg[action.dest]
            if isinstance(action, _ActionConfigLoad) and not isinstance(value, Namespace):
                what = "null" if value is None else value
                self.error(f"{action.dest}: got {what}. Allowed: settings, as {action.dest}.NAME; or leave it out")
            hint = getattr(action, "_typehint", None)
            if hint is None or (value is None and action.default is None):  # an option of a command that is not given
                continue
            for name in _nulls(hint, value, action.dest):
                self.error(f"{_in_file(self, name)}{name}: got null; give it a value, or leave it out")
        return super().instantiate(cfg, *args, **kwargs)

    def format_help(self, *args: Any, **kwargs: Any) -> str:
        """Return the help, without the backspace by which the library joins two words on a terminal."""
        return super().format_help(*args, **kwargs).replace(" \b", "")

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print what is wrong and where the full help is, and exit with the status 2."""
        if not self.exit_on_error:
            super().error(message, ex)  # of a parser inside the library, which makes one message of several
        parser = getattr(ex, "subcommand_parser", None) or _command_of(self)
        help_command = f"{parser.prog.replace(' [options]', '')} --help"
        self.exit(2, f"{error_line(in_plain_words(parser, message))}\nAll that is allowed: {help_command}\n")


def _nulls(hint: Any, value: Any, name: str) -> Iterator[str]:
    """Yield the names of what is null in a value, though its type does not allow that."""
    kinds = [kind for kind in (*get_args(hint), hint) if isinstance(kind, type) and is_dataclass(kind)]
    if value is None:
        if type(None) not in get_args(hint):
            yield name
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for number, entry in enumerate(value):
            yield from _nulls(kinds[0] if kinds else object, entry, f"{name}[{number}]")
    elif isinstance(value, Namespace | Mapping) and kinds:
        for key, one in get_type_hints(kinds[0]).items():
            if key in value:
                yield from _nulls(one, value[key], f"{name}.{key}")


def positionals_first(parser: ArgumentParser, arguments: Sequence[str]) -> list[str]:
    """Return a command's arguments with those that belong to no option before the others: they may stand anywhere.

    With an option that is not known, such as "--", they stay as they are: nobody can tell whether a value follows it.

    Args:
        parser: the parser of the command.
        arguments: what follows its name.
    """
    options = parser._option_string_actions
    alone: list[str] = []
    others: list[str] = []
    words = iter(arguments)
    for word in words:
        name, equals, _ = word.partition("=")
        if not name.startswith("--") and word != "-h":
            alone.append(word)
        elif name not in options:
            return list(arguments)
        else:
            others.append(word)
            if not equals and options[name].nargs != 0:
                others += islice(words, 1)
    return [*alone, *others]


def files_first(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with `--config FILE` before all else: wherever an option stands, it overrides files."""
    files: list[str] = []
    rest: list[str] = []
    left = iter(arguments)
    for argument in left:
        if argument == "--config":
            files += [argument, *islice(left, 1)]
        else:
            (files if argument.startswith("--config=") else rest).append(argument)
    return [*files, *rest]


def refuse_unknown(parser: ArgumentParser, arguments: Sequence[str]) -> None:
    """Refuse options that there are not, all in one error, before anything else that may be wrong.

    The library looks at values first, so that a misspelt name would be told only when all values are right.

    Args:
        parser: the parser of the command.
        arguments: what follows its name.
    """
    if {"-h", "--help"} & set(arguments):
        return
    for word in arguments:
        action = parser._subcommands_action  # what `add_subcommands` returned; the library has no other way to it
        if action is not None and word in action.choices:
            parser = action.choices[word]
    names = [word.partition("=")[0] for word in arguments if word.startswith("--") and word != "--"]
    if unknown := [name for name in dict.fromkeys(names) if not _is_known(parser, name)]:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")


def refuse_unknown_settings(parser: ArgumentParser, path: str, settings: Mapping[str, Any]) -> None:
    """Refuse settings of a file that there are not, all in one error, before anything else that may be wrong.

    Args:
        parser: the parser of the command.
        path: the file.
        settings: what it says.
    """
    if unknown := list(_unknown(_names(parser), settings, "")):
        near = ((name, [one.removeprefix("--") for one in _near(parser, name)]) for name in unknown)
        parser.error("\n".join(f"in {path}, {_no_such('setting', name, like)}" for name, like in near))


def _unknown(names: Mapping[str, str], settings: Mapping[Any, Any], above: str) -> Iterator[str]:
    for key, value in settings.items():
        name = f"{above}{key}"
        inside = any(known.startswith(f"{name}.") for known in names) or name not in names
        if isinstance(value, Mapping) and value and inside:
            yield from _unknown(names, value, f"{name}.")
        elif name not in names:
            yield name


def _is_known(parser: ArgumentParser, name: str) -> bool:
    """Return whether an option is there, or is part of one whose value is settings."""
    options = parser._option_string_actions
    parts = name.removesuffix("+").split(".")
    inside = (options.get(".".join(parts[:count])) for count in range(1, len(parts)))
    return ".".join(parts) in options or any(hasattr(action, "_typehint") for action in inside)


def _command_of(parser: ArgumentParser) -> ArgumentParser:
    """Return the parser of the command that the arguments name."""
    for word in getattr(parser, "args", ()):
        action = parser._subcommands_action  # what `add_subcommands` returned; the library has no other way to it
        if action is not None and word in action.choices:
            parser = action.choices[word]
    return parser


def in_plain_words(parser: ArgumentParser, message: str) -> str:
    """Return an error of the library in this command line's words; one that is not known stays as the library has it.

    Args:
        parser: the parser of the command.
        message: what the library says.
    """
    if found := re.match(r"unrecognized arguments: (.*)", message, re.DOTALL):
        return _unrecognised(parser, found[1].split())
    if found := re.search(r"does not accept option '(.+?)'", message):
        near = [name.removeprefix("--") for name in _near(parser, found[1])]
        return _in_file(parser, found[1]) + _no_such("setting", found[1], near)
    if found := re.match(r"argument (\S+): invalid choice: '(.*?)' \(choose from (.*?)\)", message, re.DOTALL):
        choices = [choice.strip(" '") for choice in found[3].split(",")]
        return f"{found[1]}: got {found[2]!r}{did_you_mean(nearest(found[2], choices))} Allowed: {', '.join(choices)}"
    if found := re.match(r"the following arguments are required: (.*)", message):
        return f"missing: {', '.join(_as_written(parser, key) for key in found[1].split(', '))}"
    if found := re.match(r'expected "(\S+)" to be one of \{(.*)\}', message):
        return f"missing: {found[1].rpartition('.')[2].upper()}, one of {found[2].replace(',', ', ')}"
    if keys := re.findall(r'Parser key "(.+?)"', message):
        return _bad_value(parser, ".".join(dict.fromkeys(keys)), message)
    return re.sub(r"^argument (\S+): expected one argument", r"\1: a value is missing", message)


def _unrecognised(parser: ArgumentParser, words: list[str]) -> str:
    options = [word.partition("=")[0] for word in words if re.match("--?[a-zA-Z]", word)]
    if not options:
        return f"got {' '.join(words)!r}, which belongs to no option"
    return "\n".join(_no_such("option", option, _near(parser, option.lstrip("-"))) for option in options)


def _no_such(kind: str, name: str, near: Iterable[str]) -> str:
    return f"there is no {kind} {name}{did_you_mean(near)}"


def _in_file(parser: ArgumentParser, name: str, value: str | None = None) -> str:
    """Return which file a setting is in, as the beginning of an error; nothing if it is in none."""
    path = parser.file_of(name, value) if isinstance(parser, Parser) else None
    return f"in {path}, " if path else ""


def _bad_value(parser: ArgumentParser, key: str, message: str) -> str:
    """Return what is wrong with the value of a setting."""
    if found := re.search(r"Option '(.+?)' is not accepted|Expected a dot import path string: (\S+)", message):
        name = f"{key}.{found[1] or found[2]}"
        return _no_such("setting", name, _near(parser, name))
    if "Unable to load config" in message:
        return f"{key}: this is neither a file of settings nor settings as YAML; for one of them, give --{key}.NAME"
    got = re.search(r"(?:Got|Given) value: (.*)", message, re.DOTALL)
    allowed = re.findall(r"Expected an? (.+?)(?:\. Got value|$)", message, re.MULTILINE)
    if got is None or not allowed:
        return re.sub(r'\s*Parser key "(.+?)":\s*', r"\1: ", message)
    choices = [choice for kind in allowed for choice in re.findall(r"'([^']+)'", kind) if "Literal" in kind]
    near = nearest(got[1], choices)
    kinds = " or ".join(map(_kind, allowed))
    return f"{_in_file(parser, key, got[1])}{key}: got {got[1]}{did_you_mean(near)} Allowed: {kinds}"


def _kind(kind: str) -> str:
    """Return a type, as the library writes it, in words."""
    if "Literal" in kind:
        return ", ".join(re.findall(r"'([^']+)'", kind))
    name = kind.removeprefix("<class '").removesuffix("'>")
    return _KINDS.get(name, name)


def _as_written(parser: ArgumentParser, key: str) -> str:
    """Return how an argument is written, by the key that the library has for it."""
    name = key.rpartition(".")[2]
    return f"--{name}" if f"--{name}" in parser._option_string_actions else name.upper()


def _near(parser: ArgumentParser, name: str) -> list[str]:
    """Return what may be set that is like a name, or else like the group that it names."""
    names, group = _names(parser), name.rpartition(".")[0]
    return nearest(name, names) or (nearest(group, names) if group not in names else [])


def _names(parser: ArgumentParser) -> dict[str, str]:
    """Return what may be set, by its dotted name: how it is written."""
    names = {}
    for action in parser._actions:
        if action.dest.endswith(".help"):
            continue  # the library's own
        names |= {option.removeprefix("--"): option for option in action.option_strings}
        hint = getattr(action, "_typehint", None)  # settings that are no options of their own
        for kind in filter(is_dataclass, get_args(hint)):
            for field in fields(kind):
                inside = f" '[{{{field.name}: ...}}]'" if get_origin(hint) is tuple else f".{field.name}"
                names[f"{action.dest}.{field.name}"] = f"--{action.dest}{inside}"
    return names
