"""One image tower of every timm family, without weights: what builds, and what is refused in words.

    python benchmarks/encoders/families.py            # every family that is not in the file yet
    python benchmarks/encoders/families.py xcit mlp   # those whose name holds one of these

Of each family one of the smallest models is built at its own size and at another one, frozen, and gives features and
their gradient for pixels. Each is a line of `families.jsonl` beside this file; to measure anew, delete its line.
"""

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import timm
import torch

from pairstill.config import ImageConfig
from pairstill.core.errors import ConfigError
from pairstill.encoders.frozen import frozen_tower
from pairstill.encoders.image import build_image_encoder

RESULTS = Path(__file__).with_name("families.jsonl")
OTHER_SIZE = 160
CONSIDERED = 12
"""Names of a family that are looked at for the smallest, shortest names first."""
LARGEST = 100_000_000
"""Parameters of the largest tower that is tried."""


def smallest(family: str) -> tuple[str, int]:
    """Return the model of a family with the fewest parameters, and how many it has."""
    sizes = {}
    for name in sorted(timm.list_models(module=family), key=lambda name: (len(name), name))[:CONSIDERED]:
        try:
            with torch.device("meta"):
                tower: Any = timm.create_model(name, num_classes=0)
        except Exception:  # some read values while they are made; another of the family will do
            continue
        sizes[name] = sum(parameter.numel() for parameter in tower.parameters())
    if not sizes:
        name = min(timm.list_models(module=family), key=lambda name: (len(name), name))
        return name, -1
    name = min(sizes, key=lambda name: (sizes[name], name))
    return name, sizes[name]


def outcome(name: str, size: int | None) -> dict[str, Any]:
    """Return what becomes of a tower at a size: its width, or the error."""
    try:
        encoder = build_image_encoder(ImageConfig(name=name, trainable=False, size=size))
        pixels = torch.rand(2, 3, encoder.spec.size, encoder.spec.size, requires_grad=True)
        features = frozen_tower(encoder, torch.device("cpu"))(pixels)
        features.square().sum().backward()
    except ConfigError as error:
        return {"refused": str(error)}
    except Exception as error:
        return {"fault": f"{type(error).__name__}: {error}"}
    assert pixels.grad is not None
    sound = features.shape == (2, encoder.spec.width) and bool(pixels.grad.isfinite().all())
    found = {"size": encoder.spec.size, "width": encoder.spec.width, "num_features": encoder.tower.num_features}
    return found if sound else {**found, "fault": "features of another shape, or no gradient"}


def main(wanted: list[str]) -> None:
    """Try the families that are not there yet."""
    warnings.simplefilter("ignore")
    known = RESULTS.read_text(encoding="utf-8").splitlines() if RESULTS.is_file() else []
    done = {json.loads(line)["family"] for line in known}
    families = [name for name in timm.list_modules() if name not in done and timm.list_models(module=name)]
    for family in (name for name in families if not wanted or any(part in name for part in wanted)):
        name, parameters = smallest(family)
        row: dict[str, Any] = {"family": family, "name": name, "parameters": parameters}
        if not 0 <= parameters <= LARGEST:
            row["not tried"] = f"not known to have {LARGEST:,} parameters or fewer"
        else:
            row |= {"own size": outcome(name, None), f"at {OTHER_SIZE}": outcome(name, OTHER_SIZE)}
        print(line := json.dumps(row), flush=True)
        known = sorted([*known, line])
        RESULTS.write_text("\n".join(known) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
