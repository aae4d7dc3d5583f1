"""Distilled pairs that another run has made of the same content already."""

import json
from functools import cache
from pathlib import Path

import pairstill
from pairstill.config import RunConfig
from pairstill.config.roles import with_role
from pairstill.core.errors import ArtifactError
from pairstill.data.manifest import Manifest
from pairstill.distilled import TENSORS, DistilledSet
from pairstill.events import DistilledFound
from pairstill.run.context import RunContext
from pairstill.run.description import encoders
from pairstill.run.folder import plain
from pairstill.storage import digest, file_digest, read_json, read_sealed, write_json, write_sealed
from pairstill.storage.cache import cache_folder

# data and encoders count by their content
DECISIVE = with_role(RunConfig, "made", "seed", "model", "loss", "student")
PACKAGE = Path(pairstill.__file__).parent
CONTENT = "content.json"
"""The file in the folder of checkpoints that says of which content they are."""


def content_key(context: RunContext, package: Path = PACKAGE) -> str:
    """Return the digest of all that decides a run's pairs: data, encoders, settings and code; every rank calls it.

    Args:
        context: the run's.
        package: the folder of the code.
    """
    manifest = context.manifest  # all ranks together, before the main one goes on alone
    return context.world.from_main(lambda: _key(context, manifest, package))


def take_known(context: RunContext, key: str) -> bool:
    """Copy the pairs that a run with the same content has made; return whether there are any.

    What another run makes is known by where it is, so nothing is stored twice until it is asked for again.
    """
    if not context.config.reuse or not (entry := _entry(context, key)).is_file():
        return False
    try:
        known = read_json(entry)
        folder = Path(known["folder"])
        if file_digest(folder / TENSORS) != known["sha256"]:
            return False
        DistilledSet.load(folder).save(context.folder.distilled)
    except (ArtifactError, OSError, KeyError, TypeError):
        return False  # moved, deleted or made anew since
    context.emit(DistilledFound(folder=str(folder)))
    return True


def begin(context: RunContext, key: str) -> None:
    """Write down of which content the distillation is; one that goes on under another is of none from then on."""
    folder, path = context.folder.distillation, context.folder.distillation / CONTENT
    known = read_sealed(path).get("key") if path.is_file() else None
    begun = path.is_file() or any(folder.glob("phase*"))
    write_sealed(path, {"key": key if known == key or not begun else None})


def make_known(context: RunContext, key: str) -> None:
    """Let other runs find this run's pairs, if one content made them from beginning to end."""
    if context.config.reuse and read_sealed(context.folder.distillation / CONTENT).get("key") == key:
        folder = context.folder.distilled.absolute()
        write_json(_entry(context, key), {"folder": str(folder), "sha256": file_digest(folder / TENSORS)})


def _entry(context: RunContext, key: str) -> Path:
    """Return the file that says where the pairs of a content are."""
    return cache_folder(context.cache_dir, "distilled") / f"{key[:24]}.json"


def _key(context: RunContext, manifest: Manifest, package: Path) -> str:
    settings = {name: value for name, value in plain(context.config).items() if name in DECISIVE}
    content = {
        "code": code_digest(package),
        "data": manifest.fingerprint,
        "encoders": encoders(context),
        "settings": settings,
    }
    return digest(json.dumps(content, sort_keys=True))


@cache
def code_digest(package: Path) -> str:
    """Return the digest of a package's Python files and their names, which is its code with or without git."""
    files = sorted((path.relative_to(package).as_posix(), path) for path in package.rglob("*.py"))
    return digest(*(part for name, path in files for part in (name, path.read_bytes())))
