"""The part that a setting plays: whether it decides numbers, and which.

Declared on the fields of the settings, so that every list of settings (those that may change, that tell teachers or
pairs apart, that stay private) follows from them.
"""

from dataclasses import MISSING, field, fields
from typing import Any, Literal

Role = Literal["place", "teachers_place", "seed", "made", "content", "model", "loss", "extent", "student", "measure"]
"""What a setting is.

`place`: where and how is computed, which decides no number.
`teachers_place`: a place as well, but one that a run keeps.
`seed`: of all that is drawn.
`made`: what makes the pairs.
`content`: decides everything, through what it names: fingerprints and specifications stand for it in digests.
`model`: decides teachers and pairs.
`loss`: the same, a single setting of the run.
`extent`: how much there is of something, not what it is.
`student`: training of students, measured at the end; validation by students chooses among pairs, too.
`measure`: what is measured at the end.
"""
_ROLE, _ALWAYS = "role", "always"


def setting(
    default: Any = MISSING, *, factory: Any = MISSING, role: Role | None = None, always: bool = False, **more: Any
) -> Any:
    """Return a field of settings that says what part it plays.

    Args:
        default: its default.
        factory: makes its default, in place of one.
        role: what it is, if its group does not say that.
        always: whether it counts in digests even at its default, as fields do that the first digests were made of.
        more: other metadata.
    """
    metadata = {_ROLE: role, _ALWAYS: always, **more}
    if factory is not MISSING:
        return field(default_factory=factory, metadata=metadata)
    return field(default=default, metadata=metadata)


def with_role(kind: type, *roles: Role) -> tuple[str, ...]:
    """Return the names of the settings of a kind that have one of these roles, in order.

    Example:
        >>> from pairstill.config import TeacherConfig
        >>> with_role(TeacherConfig, "extent")
        ('num_experts', 'keep')
    """
    return tuple(one.name for one in fields(kind) if one.metadata.get(_ROLE) in roles)


def always_counted(kind: type) -> tuple[str, ...]:
    """Return the names of the settings of a kind that count in digests even at their defaults.

    Example:
        >>> from pairstill.config import StudentConfig
        >>> always_counted(StudentConfig)
        ('epochs', 'batch_size', 'momentum', 'weight_decay', 'validate_every')
    """
    return tuple(one.name for one in fields(kind) if one.metadata.get(_ALWAYS))
