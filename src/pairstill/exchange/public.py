"""What may be told to everybody of a distilled set: not where encoders lie on this machine."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pairstill.encoders.open_clip_towers import PREFIX

_AND = " + "
"""Between the names of several image towers."""


def public_name(name: str) -> str:
    """Return an encoder's name; of a local folder, where it lies is nobody else's business.

    Example:
        >>> public_name("/home/me/clip"), public_name("open_clip:/home/me/clip"), public_name("openai/clip")
        ('clip', 'open_clip:clip', 'openai/clip')
    """
    before, place = (PREFIX, name.removeprefix(PREFIX)) if name.startswith(PREFIX) else ("", name)
    local = Path(place).is_absolute() or place.startswith("~") or Path(place).exists()
    return before + (Path(place).name if local else place)


def public_encoder(encoder: Mapping[str, Any]) -> dict[str, Any]:
    """Return the specification of an encoder, or of what several have in common, with its public name."""
    names = str(encoder.get("name")).split(_AND)
    return {**encoder, "name": _AND.join(map(public_name, names))}


def public(description: Mapping[str, Any]) -> dict[str, Any]:
    """Return the description of a distilled set with the public names of its encoders."""
    found = dict(description)
    found |= {part: public_encoder(description[part]) for part in ("image_encoder", "text_encoder")}
    return found | ({"towers": [public_encoder(tower) for tower in found["towers"]]} if "towers" in found else {})
