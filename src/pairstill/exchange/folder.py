"""An exported folder: written whole or not at all, checked when it is read."""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, assert_never

import torch

from pairstill.core.errors import ArtifactError
from pairstill.distilled import MANIFEST as DISTILLED
from pairstill.distilled import DistilledSet
from pairstill.exchange.columns import HUB, PLAIN, read_hub, read_plain, write_hub, write_plain
from pairstill.exchange.hub import fetched, is_on_hub
from pairstill.exchange.pictures import EXACT, TABLE, read_pictures, write_pictures
from pairstill.exchange.rows import PairRow, describe, set_of
from pairstill.exchange.settings import LAYOUTS, SETTINGS, Layout
from pairstill.exchange.shards import SHARDS, read_shards, write_shards
from pairstill.storage import file_digest, read_sealed, temporary_folder, write_sealed, write_text_atomic, writing
from pairstill.storage.owned import refuse_used

FORMAT = "pairstill.export"
VERSION = 1
MANIFEST = "pairstill.json"
CARD = "README.md"


@dataclass(frozen=True)
class _Form:
    """How a format is written and read, and which files hold its rows."""

    write: Callable[[DistilledSet, Path], None]
    read: Callable[[Path], Iterator[PairRow]]
    files: tuple[str, ...]


def _form(layout: Layout) -> _Form:
    match layout:
        case "parquet":
            return _Form(write_plain, read_plain, (PLAIN,))
        case "huggingface":
            return _Form(write_hub, read_hub, (HUB,))
        case "webdataset":
            return _Form(write_shards, read_shards, (SHARDS,))
        case "imagefolder":
            return _Form(write_pictures, read_pictures, (TABLE, EXACT))
        case _:
            assert_never(layout)


def write_export(distilled: DistilledSet, layout: Layout, out: Path, card: str, settings: str | None) -> None:
    """Write a distilled set as a folder of another format.

    The folder is filled beside `out` and renamed when everything is in it.

    Args:
        distilled: the set.
        layout: the format.
        out: the folder to make; it must not exist, or be empty.
        card: the dataset card, which becomes `README.md`.
        settings: YAML that `pairstill evaluate` reads the set back with, or None.

    Raises:
        ConfigError: `out` holds something already.
        MissingDependencyError: the format needs an optional package.
        StorageError: it cannot be written; nothing of it is left.
    """
    refuse_used(out, "the export")
    with temporary_folder(out) as beside, writing(out):
        temporary = beside / out.name
        temporary.mkdir()
        _form(layout).write(distilled, temporary)
        if settings is not None:
            write_text_atomic(temporary / SETTINGS, settings)
        covered = sorted(path for path in temporary.rglob("*") if path.is_file())
        manifest = {
            "format": FORMAT,
            "version": VERSION,
            "layout": layout,
            "files": {path.relative_to(temporary).as_posix(): file_digest(path) for path in covered},
            **describe(distilled),
        }
        write_sealed(temporary / MANIFEST, manifest)
        write_text_atomic(temporary / CARD, card)
        temporary.replace(out)


def is_export_of(folder: Path, layout: Layout, distilled: DistilledSet) -> bool:
    """Return whether a folder holds a set in a format, to the bit.

    Raises:
        ArtifactError: it holds an export that is damaged.
    """
    if not (folder / MANIFEST).is_file():
        return False
    found, wanted = read_export(folder), distilled.tensors()
    told = read_sealed(folder / MANIFEST, "layout")["layout"], json.dumps(describe(found))
    tensors = found.tensors()
    return (
        told == (layout, json.dumps(describe(distilled)))
        and tensors.keys() == wanted.keys()
        and all(torch.equal(tensors[name], value) for name, value in wanted.items())
    )


def read_export(folder: Path) -> DistilledSet:
    """Return the distilled set that an exported folder holds, to the bit.

    Raises:
        ArtifactError: a file is missing or was changed, or the parts do not fit together.
        MissingDependencyError: the format needs an optional package.
    """
    path = folder / MANIFEST
    manifest: Any = read_sealed(path)
    if manifest.get("format") != FORMAT or manifest.get("version") != VERSION:
        raise ArtifactError(f"{path} is not an export of format version {VERSION}")
    try:
        layout = manifest["layout"]
        if layout not in LAYOUTS:
            raise ArtifactError(f"{path} has the layout {layout!r}; it must be one of {', '.join(LAYOUTS)}")
        form = _form(layout)
        for name, digest in manifest["files"].items():
            _check_file(folder, name, digest)
        for path in (path for pattern in form.files for path in folder.glob(pattern)):
            if path.relative_to(folder).as_posix() not in manifest["files"]:
                raise ArtifactError(f"{path} is not named in {MANIFEST}; it does not belong to this export")
        return set_of(manifest, form.read(folder))
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise ArtifactError(f"{folder} lacks or garbles {error}; export again") from error


def _check_file(folder: Path, name: str, digest: str) -> None:
    path = folder / name
    # not Path.resolve, which raises where links go round
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
        raise ArtifactError(f"{folder / MANIFEST} names the file {name!r}, which lies outside of its folder")
    if not path.is_file():
        raise ArtifactError(f"{path} does not exist; copy the whole folder")
    if file_digest(path) != digest:
        raise ArtifactError(f"{path} does not match {MANIFEST}; it was changed or cut short")


def open_set(path: str | Path) -> DistilledSet:
    """Return the distilled set at `path`: a run's folder, its `distilled` folder, or an export of any format.

    Args:
        path: the folder, or `hf://OWNER/NAME` for an export on the hub, with `@REVISION` for one of its states.

    Raises:
        ArtifactError: there is none, or it is damaged.
        ConfigError: it begins with hf:// and names nothing.
        MissingDependencyError: the format needs an optional package.
    """
    if is_on_hub(path):
        with fetched(path) as folder:
            return read_export(folder)
    path = Path(path)
    if (path / MANIFEST).is_file():
        return read_export(path)
    for folder in (path, path / "distilled"):
        if (folder / DISTILLED).is_file():
            return DistilledSet.load(folder)
    raise ArtifactError(
        f"{path} holds no distilled set; give an export ({MANIFEST} is in it), a run, or its folder with {DISTILLED}"
    )
