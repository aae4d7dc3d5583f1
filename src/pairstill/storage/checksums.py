"""JSON that is checked: values that a JSON file of pairstill can hold, and mappings that carry their own digest."""

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

from pairstill.core.errors import ArtifactError

SEAL = "sha256"
SETTINGS_SEAL = "# sha256 of the lines above: "
"""Begins the last line of the settings that a run stores."""


def parse_json(text: str) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: it is not JSON, is nested too deeply, or has a number that is not finite or of thousands of digits.
    """

    def finite(number: str) -> float:
        value = float(number)
        if not math.isfinite(value):
            raise ValueError(f"{number[:40]} is not a finite number")
        return value

    try:
        return json.loads(text, parse_float=finite, parse_constant=finite)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return `content` with the digest of it all, for `check_seal`; its values must be JSON values."""
    rest = {key: value for key, value in content.items() if key != SEAL}
    canonical = json.dumps(rest, sort_keys=True, allow_nan=False, separators=(",", ":"))
    return {**rest, SEAL: hashlib.sha256(canonical.encode()).hexdigest()}


def check_seal(content: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return `content` without its digest, after checking it; content from before there were digests has none.

    Raises:
        ArtifactError: the content is not what it was; the message names `where`.
    """
    rest = {key: value for key, value in content.items() if key != SEAL}
    if SEAL in content and sealed(rest)[SEAL] != content[SEAL]:
        raise ArtifactError(f"{where} is damaged, or was changed after it was written: its checksum does not match")
    return rest
