"""Sources of pairs; each module reads one format into `RawPairs`."""

from pathlib import Path
from typing import assert_never

from pairstill.config import DataConfig
from pairstill.data.sources import blip, coco, folder, huggingface, karpathy, llava_cc3m, scenes, table, webdataset
from pairstill.data.sources.raw import RawPairs


def read_source(config: DataConfig, cache_dir: Path) -> RawPairs:
    """Return the listings of the source that `config.source` names, unchecked.

    Args:
        config: the data settings.
        cache_dir: folder for images that the source has to draw or extract first.

    Raises:
        DataError: the source's files are missing or not of its format.
        MissingDependencyError: the source needs an optional package.
    """
    match config.source:
        case "scenes":
            return scenes.read(config, cache_dir)
        case "karpathy":
            return karpathy.read(config, cache_dir)
        case "coco":
            return coco.read(config, cache_dir)
        case "blip":
            return blip.read(config, cache_dir)
        case "folder":
            return folder.read(config, cache_dir)
        case "llava_cc3m":
            return llava_cc3m.read(config, cache_dir)
        case "table":
            return table.read(config, cache_dir)
        case "huggingface":
            return huggingface.read(config, cache_dir)
        case "webdataset":
            return webdataset.read(config, cache_dir)
        case _:
            assert_never(config.source)
