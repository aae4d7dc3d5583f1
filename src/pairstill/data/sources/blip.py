"""JSON lists of images and captions, as BLIP's and LoRS's annotation files are."""

from collections.abc import Iterator
from pathlib import Path

from pairstill.config import DataConfig
from pairstill.core.errors import DataError, shown
from pairstill.data.sources.cells import caption_columns, together
from pairstill.data.sources.raw import RawPair, RawPairs, SplitFile, image_root_of, parse_listing, split_files


def read(config: DataConfig, cache_dir: Path) -> RawPairs:
    """Read `[{"image", "caption"}]`, where a caption is a string or a list of strings.

    Args:
        config: `splits` are the files of the splits; or `annotations` is one for all, whose entries name their split;
            where `split` divides `train`, those that name none are of it. `columns` names the keys; `images` is the
            folder of the image files.
        cache_dir: not used; images stay where they are.

    Raises:
        DataError: a file is missing or not of this format.
    """
    parsed: list[RawPair | str] = []
    for file in split_files(config):
        if not isinstance(file.content, list):
            raise DataError(f"{file.name} is not a list at its top; write it as [{{'image': ..., 'caption': ...}}]")
        parsed += _parse(config, file)
    return RawPairs(image_root_of(config), tuple(parsed))


def _parse(config: DataConfig, file: SplitFile) -> Iterator[RawPair | str]:
    columns = config.columns
    own = config.annotations is not None and columns.split is not None
    needed = own and config.split is None
    if needed and file.content and not any(isinstance(one, dict) and columns.split in one for one in file.content):
        raise DataError(
            f"no entry of {file.name} has {columns.split!r}, the split; name a file for each with data.splits.train, "
            "data.splits.val and data.splits.test, or have them drawn, such as data.split 'random 8:1:1'"
        )
    otherwise = None if config.split is None else file.split
    for number, entry in enumerate(file.content):
        where = f"{file.place}entry {number}"
        if not isinstance(entry, dict):
            yield f"{where}: {shown(entry)} is not an object"
            continue
        split = entry.get(str(columns.split), otherwise) if own else file.split
        names = caption_columns(columns.caption, entry) or [columns.caption]
        captions = together([entry.get(name) for name in names])
        yield parse_listing(image=entry.get(columns.image), captions=captions, split=split, where=where)
