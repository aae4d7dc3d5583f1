"""What something was made with: versions, machine, seed and commit."""

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("pairstill", "torch", "timm", "transformers", "safetensors", "kornia", "numpy")


def environment(seed: int) -> dict[str, Any]:
    """Return versions, machine, seed and commit."""
    return {
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "packages": {name: installed_version(name) for name in PACKAGES},
        "commit": commit(),
        "seed": seed,
    }


def commit() -> str | None:
    """Return the commit that this code was run from, with "+changes" if files differ from it; None outside git."""
    here = Path(__file__).parents[1]
    try:
        name = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(
            ["git", "-C", str(here), "status", "--porcelain", "--", "."], capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
    return name + ("+changes" if changed else "")


def installed_version(package: str) -> str | None:
    """Return the version of an installed package, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
