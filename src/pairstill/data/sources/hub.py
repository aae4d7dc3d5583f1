"""Splits of Hugging Face datasets, which may name no file outside of their own folder."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pairstill.core.errors import DataError, shown
from pairstill.core.extras import need
from pairstill.data.inside import find_inside, path_of, read_inside
from pairstill.data.sources.recognition import hint

_SAVED = "dataset_dict.json"
_ABOUT = ("README.md", ".huggingface.yaml", "dataset_infos.json")
"""What `datasets` reads of a folder beside its data files."""
_REMOTE = ("hf://", "https://", "http://")


@dataclass(frozen=True)
class HubSplit:
    """A column of images, one of captions or classes, and perhaps others.

    Attributes:
        table: a `datasets.Dataset` of these columns, in this order, its images undecoded.
        roots: the folders that cells may name files in; relative paths start from the first.
    """

    table: Any
    roots: tuple[Path, ...]

    @property
    def class_names(self) -> Sequence[str]:
        """Names of the classes, if the second column holds classes."""
        return getattr(self.table.features[self.table.column_names[1]], "names", None) or ()

    @property
    def facts(self) -> list[str]:
        """What tells this content from another: the fingerprint of `datasets`, the files and their times."""
        # The fingerprint has no public name. It is what the dataset's own file says, so the times are needed as well.
        facts = [str(self.table._fingerprint)]
        for file in self.table.cache_files:
            status = Path(file["filename"]).stat()
            facts += [file["filename"], str(status.st_size), str(status.st_mtime_ns)]
        return facts

    def rows(self) -> Iterator[tuple[Any, ...] | str]:
        """Yield the cells of each row in order, or what is wrong with it.

        Raises:
            DataError: the files of the dataset are damaged.
        """
        import pyarrow

        try:
            self.table.data.validate(full=True)
        except (pyarrow.ArrowException, OSError) as error:
            raise DataError(f"{self.roots[0]} holds damaged data ({error}); fetch or save it again") from error
        names = self.table.column_names
        for number in range(len(self.table)):
            try:
                row = self.table[number]
            except Exception as error:  # what cannot be a value of Python has many kinds
                yield f"cannot be read ({type(error).__name__}: {error})"
            else:
                yield tuple(row[name] for name in names)

    def image(self, cell: Mapping[str, Any] | None) -> bytes:
        """Return the content of an image cell: its `bytes`, or the file that its `path` names.

        Raises:
            DataError: it has none, or the file lies outside of the dataset; the message is the end of a sentence.
        """
        if cell is None or (cell["bytes"] is None and cell["path"] is None):
            raise DataError("is absent")
        if cell["bytes"] is not None:
            return cell["bytes"]
        problems = []
        for root in self.roots:
            try:
                return read_inside(root, cell["path"])
            except DataError as error:
                problems.append(str(error))
        raise DataError(f"{shown(cell['path'])} {problems[0]}")


def load_split(
    root: str, name: str, columns: Mapping[str, str], settings: str, optional: Mapping[str, str] | None = None
) -> HubSplit:
    """Return a split of a dataset.

    Args:
        root: the hub name, a folder written by `save_to_disk`, or a folder that `load_dataset` reads.
        name: the split.
        columns: names of the columns of images, of captions or classes, and of others, in this order, by setting.
        settings: what to correct where it cannot be loaded.
        optional: names of further columns, by setting, of which those are read that are there.

    Raises:
        DataError: the dataset, the split or a column is missing, the dataset is damaged or names files elsewhere, or
            the first column does not hold images.
        MissingDependencyError: the package datasets is not installed.
    """
    need("datasets", "a dataset of the hub, or a local one in its formats,")
    folder = path_of(root, settings.split()[0])
    try:
        if (folder / _SAVED).is_file():
            table, roots = _saved_split(folder, name), (folder,)
        elif folder.is_dir():
            table, roots = _built_split(str(folder), name, folder), (folder, *_unpacked())
        else:
            table, roots = _built_split(root, name, None), (_hub_folder(root), *_unpacked())
        more = {setting: column for setting, column in (optional or {}).items() if column in table.column_names}
        columns = {**columns, **more}
        found = HubSplit(_with_undecoded_images(table, columns, f"split {name!r} of {root}"), roots)
        _ = found.facts
    except _ColumnError:
        raise
    except Exception as error:  # from a missing network to a wrong split, each kind with its own class
        kind = "" if isinstance(error, DataError) else f"{type(error).__name__}: "
        raise DataError(
            f"split {name!r} of dataset {root} cannot be loaded ({kind}{error}). Check {settings}"
            f"{hint(folder, 'huggingface') if folder.is_dir() else ''}"
        ) from error
    return found


class _ColumnError(DataError):
    """The dataset is whole, but another column was asked for."""


def _saved_split(folder: Path, name: str) -> Any:
    """Return a split that `save_to_disk` wrote, after a look at the files that it names."""
    import datasets

    splits = [str(split) for split in json.loads(read_inside(folder, _SAVED))["splits"]]
    if name not in splits:
        raise DataError(f"it has {', '.join(map(repr, splits))}")
    find_inside(folder, f"{name}/dataset_info.json")
    state = json.loads(read_inside(folder, f"{name}/state.json"))
    for file in state["_data_files"]:
        _require_inside(folder, f"{name}/{file['filename']}", file["filename"])
    return datasets.load_from_disk(str(folder / name)).with_format(None)


def _built_split(root: str, name: str, folder: Path | None) -> Any:
    """Return a split that `datasets` builds, after a look at the files that it would read.

    Args:
        root: the hub name or the folder.
        name: the split.
        folder: the folder, if it is one.
    """
    import datasets

    if folder is not None:
        for about in _ABOUT:
            if os.path.lexists(folder / about):
                _require_inside(folder, about, about)
    builder = datasets.load_dataset_builder(root)
    for files in (builder.config.data_files or {}).values():
        for file in map(str, files):
            place = file.rpartition("::")[2]  # of a file in an archive, the archive
            if folder is not None:
                _require_inside(folder, place, file)
            elif not place.startswith(_REMOTE):
                raise DataError(f"it names {file!r}, which is no file of the hub")
    builder.download_and_prepare()
    return builder.as_dataset(split=name)


def _require_inside(folder: Path, place: str, named: Any) -> None:
    try:
        find_inside(folder, place)
    except DataError as error:
        raise DataError(f"it names {shown(named)}, which {error}") from error


def _unpacked() -> tuple[Path]:
    """Return where `datasets` keeps what it fetched and unpacked."""
    from datasets import config

    return (Path(config.DOWNLOADED_DATASETS_PATH).resolve(),)


def _hub_folder(name: str) -> Path:
    """Return where the files of a dataset of the hub are kept."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return (Path(HF_HUB_CACHE) / f"datasets--{name.replace('/', '--')}").resolve()


def _with_undecoded_images(table: Any, columns: Mapping[str, str], place: str) -> Any:
    import datasets

    for setting, name in columns.items():
        if name not in table.column_names:
            has = ", ".join(map(repr, table.column_names))
            raise _ColumnError(f"{place} has no column {name!r}; it has {has}. Set {setting}")
    setting, image = next(iter(columns.items()))
    kind = table.features[image]
    if not isinstance(kind, datasets.Image):
        raise _ColumnError(f"column {image!r} of {place} holds {kind}, not images. Set {setting}")
    if len(set(columns.values())) < len(columns):
        raise _ColumnError(f"{' and '.join(columns)} are the same column; set one of them to another")
    return table.select_columns(list(columns.values())).cast_column(image, datasets.Image(decode=False))
