"""Settings whose default is no longer what it was, and what stored ones that lack them meant."""

from dataclasses import Field, fields
from typing import Any

from pairstill.config.roles import Role, setting

_BEFORE = "before"


def changed(default: Any, *, before: Any, role: Role | None = None) -> Any:
    """Return a field with a default for settings that people write, and what it was before there was a choice.

    Args:
        default: what settings that do not name it mean now.
        before: what settings that a run stored without it meant.
        role: what it is; see `setting`.
    """
    return setting(default, role=role, **{_BEFORE: before})


def before(of: Field[Any], default: Any) -> Any:
    """Return what stored settings that lack a field meant: its default, unless that is no longer what it was."""
    return of.metadata.get(_BEFORE, default)


def meant(kind: type, name: str) -> Any:
    """Return what stored settings of a kind that lack the field `name`, which has a plain default, meant."""
    found = next(one for one in fields(kind) if one.name == name)
    return before(found, found.default)
