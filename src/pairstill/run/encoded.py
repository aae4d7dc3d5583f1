"""What frozen towers made of the real pairs, as files for runs that have no such tower, or need not wait for it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from pairstill.core.errors import ConfigError
from pairstill.core.schema import SPLITS
from pairstill.encoders.row_files import DTYPES, Kind, caption_digest, write_row_file
from pairstill.run.context import RunContext
from pairstill.run.description import image_facts


@dataclass(frozen=True)
class EncodedFiles:
    """What to write of the encoded pairs.

    Attributes:
        texts: the file of all captions' embeddings, or None.
        features: the file of all images' features, or None.
        dtype: how numbers are stored.
    """

    texts: Path | None = None
    features: Path | None = None
    dtype: Literal["float16", "float32"] = "float32"


def write(context: RunContext, asked: EncodedFiles) -> dict[Path, int]:
    """Write the files that are asked for, on the main rank; return the rows of each.

    Raises:
        ConfigError: features are asked for, but the image tower is trained, or there are several.
        DataError: a value is not finite in the asked-for type.
    """
    if asked.features is not None and context.config.image.trains:
        raise ConfigError(
            "features are asked for but the image tower is trained: it has none that stay; set image.trainable to false"
        )
    if asked.features is not None:
        context.config.check_one_tower("features_out")
    if not context.world.is_main:
        return {}
    manifest, splits, written = context.manifest, context.splits, {}
    by_split = dict(zip(SPLITS, (splits.train, splits.val, splits.test), strict=True))

    def keep(path: Path, kind: Kind, digests: list[bytes], rows: list[torch.Tensor], made: Mapping[str, Any]) -> None:
        vectors = torch.cat(rows).to(DTYPES[asked.dtype])
        written[path] = write_row_file(path, kind, digests, vectors, json.dumps(made, sort_keys=True))

    if asked.texts is not None:
        captions = [caption_digest(caption) for split in SPLITS for caption in manifest.captions(split)]
        rows = [by_split[split].text_embeddings.all() for split in SPLITS]
        keep(asked.texts, "texts", captions, rows, context.text.spec.to_json())
    if asked.features is not None:
        images = [bytes.fromhex(digest) for split in SPLITS for digest in manifest.digests(split)]
        rows = [by_split[split].images.all() for split in SPLITS]
        keep(asked.features, "features", images, rows, image_facts(context))
    return written
