"""Distilled pairs that another run has made of the same content already."""

import json
from pathlib import Path

from pairstill import __version__
from pairstill.distilled import TENSORS, DistilledSet
from pairstill.errors import ArtifactError
from pairstill.pipeline.parts import Parts
from pairstill.runfolder import commit, plain
from pairstill.storage import digest, file_digest, read_json, write_json

DECISIVE = ("method", "seed", "seeds", "heads", "teacher", "distill", "student")


def take_known(parts: Parts) -> bool:
    """Copy the pairs that a run with the same data, encoders, settings and code has made; return whether there are any.

    What another run makes is known by where it is, so nothing is stored twice until it is asked for again.
    """
    entry = _entry(parts)
    if entry is None or not entry.is_file():
        return False
    try:
        known = read_json(entry)
        folder = Path(known["folder"])
        if file_digest(folder / TENSORS) != known["sha256"]:
            return False
        DistilledSet.load(folder).save(parts.folder.distilled)
    except (ArtifactError, OSError, KeyError, TypeError):
        return False  # moved, deleted or made anew since
    parts.folder.metrics.write("distilled_found", folder=str(folder))
    parts.console.print(f"The same distillation was done in {folder}; its pairs are copied", style="dim", markup=False)
    return True


def make_known(parts: Parts) -> None:
    """Let other runs find this run's pairs."""
    entry = _entry(parts)
    if entry is not None:
        folder = parts.folder.distilled.absolute()
        write_json(entry, {"folder": str(folder), "sha256": file_digest(folder / TENSORS)})


def _entry(parts: Parts) -> Path | None:
    """Return the file that says where the pairs of this content are, or None if they are nobody else's business."""
    code = commit()
    if not parts.config.reuse or (code or "").endswith("+changes"):
        return None  # code that is being changed is not known by its commit
    settings = {name: value for name, value in plain(parts.config).items() if name in DECISIVE}
    content = {
        "code": [__version__, code],
        "data": parts.manifest.fingerprint,
        "encoders": parts.encoders(),
        "settings": settings,
    }
    return parts.cache_dir / "distilled" / f"{digest(json.dumps(content, sort_keys=True))[:24]}.json"
