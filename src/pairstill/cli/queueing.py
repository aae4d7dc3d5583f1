"""What commands that run many rows share: the options of their queue."""

from dataclasses import fields
from typing import Any, TypeVar

from jsonargparse import ArgumentParser

from pairstill.tools.sweep.settings import QueueConfig

T = TypeVar("T")


def add_queue(parser: ArgumentParser) -> None:
    """Add the options of a queue to a command's."""
    parser.add_class_arguments(QueueConfig, skip={"retry"})
    parser.add_argument("--retry", action="store_true", help="take rows that failed again")


def picked(kind: type[T], values: dict[str, Any]) -> T:
    """Return the settings of a kind, with those of its fields that are among the values."""
    return kind(**{field.name: values[field.name] for field in fields(kind) if field.name in values})  # pyright: ignore
