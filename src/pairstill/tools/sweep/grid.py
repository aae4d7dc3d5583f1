"""A grid of settings: names and the values that they take, and every combination of them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import yaml

from pairstill.config.yaml_files import check_yaml
from pairstill.core.errors import ConfigError
from pairstill.storage import digest

LONGEST = 100
OWN = {
    "seed": "--seeds says how many seeds each row has, counted up from the settings' own",
    "run_dir": "--out says where the rows go",
}
"""Settings that a sweep sets itself."""


@dataclass(frozen=True)
class Axis:
    """A setting and the values that it takes.

    Attributes:
        name: of the setting, as an option of `pairstill run` has it.
        values: as they are typed.
        short: its name in tables and folders.
    """

    name: str
    values: tuple[str, ...]
    short: str


@dataclass(frozen=True)
class Cell:
    """A combination of values.

    Attributes:
        name: as the row is called, and its folder.
        values: of each axis, in order.
        options: the options of `pairstill run` that make it.
    """

    name: str
    values: tuple[str, ...]
    options: tuple[str, ...]


def read_grid(texts: Sequence[str]) -> tuple[Axis, ...]:
    """Return the axes that are typed as NAME=VALUE,VALUE.

    Raises:
        ConfigError: one is written otherwise, is there twice, or is of a setting that a sweep sets itself.
    """
    named = [_named(text) for text in texts]
    names = [name for name, _ in named]
    for name, values in named:
        if names.count(name) > 1:
            raise ConfigError(f"grid names {name} twice; give all its values in one, as {name}=VALUE,VALUE")
        if twice := [value for value in values if values.count(value) > 1]:
            raise ConfigError(f"grid gives {name} the value {twice[0]} twice; leave one out")
    lasts = [name.rpartition(".")[2] for name in names]
    return tuple(
        Axis(name, values, last if lasts.count(last) == 1 else name)
        for (name, values), last in zip(named, lasts, strict=True)
    )


def _named(text: str) -> tuple[str, tuple[str, ...]]:
    name, equals, values = text.partition("=")
    name = name.strip().removeprefix("--").replace("-", "_")
    if not equals or not name:
        raise ConfigError(f"grid is {text!r}; write NAME=VALUE,VALUE, such as distill.outer.lr_texts=0.01,0.02")
    if name in OWN:
        raise ConfigError(f"grid names {name}, but {OWN[name]}; leave it out")
    return name, split_values(name, values)


def split_values(name: str, text: str) -> tuple[str, ...]:
    """Return the values in a text, at whose commas it is cut but for those in quotes or brackets.

    Raises:
        ConfigError: there is none, or a bracket or quote is not closed.

    Example:
        >>> split_values("distill.phases", "[{num_pairs: 9, endpoint: 3}],[{num_pairs: 7}]")
        ('[{num_pairs: 9, endpoint: 3}]', '[{num_pairs: 7}]')
    """
    listed = f"[{text}]"
    try:
        check_yaml(listed)
        found = yaml.compose(listed, yaml.SafeLoader)
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(
            f"grid gives {name} the values {text!r}, which cannot be told apart; close brackets and quotes, and put "
            "quotes around a value with signs of YAML"
        ) from error
    whole = isinstance(found, yaml.SequenceNode) and found.end_mark.index == len(listed)
    values = [_typed(listed, node) for node in found.value] if whole and isinstance(found, yaml.SequenceNode) else []
    if not values or "" in values:
        raise ConfigError(f"grid gives {name} the values {text!r}; write VALUE,VALUE, each with something in it")
    return tuple(values)


def _typed(text: str, node: yaml.Node) -> str:
    """Return a value as it stands in the text, without quotes around it."""
    if isinstance(node, yaml.ScalarNode) and node.style in ("'", '"'):
        return node.value
    return text[node.start_mark.index : node.end_mark.index].strip()


def cells_of(axes: Sequence[Axis], unnamed: str) -> list[Cell]:
    """Return every combination of values, the last axis the fastest.

    Args:
        axes: the axes; without any there is one row.
        unnamed: name of that row.
    """
    cells = []
    for values in product(*(axis.values for axis in axes)):
        parts = [f"{axis.short}={value}" for axis, value in zip(axes, values, strict=True)]
        options = tuple(f"--{axis.name}={value}" for axis, value in zip(axes, values, strict=True))
        cells.append(Cell(folder_name(",".join(parts) or unnamed), values, options))
    return cells


def folder_name(text: str) -> str:
    """Return a text as the name of a folder; one that loses letters thereby ends in a digest.

    Example:
        >>> folder_name("lr_texts=0.01,method=lors"), folder_name("a/b")
        ('lr_texts=0.01,method=lors', 'a_b-c9d2a281')
    """
    safe = re.sub(r"[^\w.,=+-]", "_", text, flags=re.ASCII)[:LONGEST]
    return text if text == safe and not text.startswith(".") else f"{safe.lstrip('.')}-{digest(text)[:8]}"
