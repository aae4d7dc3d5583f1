"""What pairs teach behind encoders that they were not made with, as rows: sets, and the encoders' own full data."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from pairstill.config import RunConfig, TowerConfig
from pairstill.studies.cross_encoder.encoders import named_image, named_text
from pairstill.studies.cross_encoder.study import Crossing
from pairstill.tools.reproduce.rows import Row
from pairstill.tools.reproduce.settings import FURTHER_TOWERS, Reproduction

MOBILENET, LITE0, LITE1 = ("mobilenetv1_075", *FURTHER_TOWERS)
TOWERS = (MOBILENET, LITE0, LITE1)
TEXTS = ("minilm", "hashed_ngrams")
SIZES = (99, 199, 499)
SIDE = 160
FULL = "full"


@dataclass(frozen=True)
class Kind:
    """A kind of sets.

    Attributes:
        name: as people type it.
        title: what they are, for tables.
        settings: their settings file.
        towers: the image towers that they are made with.
        of_size: the settings file of sizes that have one of their own.
    """

    name: str
    title: str
    settings: str
    towers: tuple[str, ...]
    of_size: Mapping[int, str] = field(default_factory=dict)


_LARGE = {499: "kept_free_499.yaml"}
KINDS = (
    Kind("kept_mobilenet", "kept photos, MobileNet", "kept_free.yaml", (MOBILENET,), _LARGE),
    Kind("kept_both", "kept photos, MobileNet and Lite0", "kept_free.yaml", (MOBILENET, LITE0), _LARGE),
    Kind("pixels_both", "pixels, MobileNet and Lite0", "pixels_both.yaml", (MOBILENET, LITE0)),
    Kind("pixels_mobilenet", "pixels, MobileNet", "pixels.yaml", (MOBILENET,)),
    Kind("pixels_lite0", "pixels, Lite0", "pixels.yaml", (LITE0,)),
)


def transfer_rows(settings: Reproduction) -> list[Row]:
    """Return all rows: full data behind each pair of encoders, and each kind of sets at each size."""
    configs = settings.configs_folder / "transfer"
    students = Crossing(tuple(_typed(name, settings) for name in TOWERS), TEXTS)
    full = [_full_row(configs / "full.yaml", tower, text) for text in TEXTS for tower in TOWERS]
    return full + [_set_row(configs, kind, pairs, students) for kind in KINDS for pairs in SIZES]


def _typed(tower: str, settings: Reproduction) -> str:
    """Return an image tower as `--image-encoder` takes it."""
    weights = settings.tower_weights.get(tower, settings.image_weights)
    return f"{tower}={weights},size={SIDE}"


def _full_row(path: Path, tower: str, text: str) -> Row:
    name = f"{FULL}/{tower}/{text}"

    def change(config: RunConfig) -> RunConfig:
        image = named_image(f"{tower},size={SIDE}", config.image)
        return replace(config, image=image, text=named_text(text, config.text))

    return Row(name, name, path, change, teachers=None, makes_pairs=False)


def _set_row(configs: Path, kind: Kind, pairs: int, students: Crossing) -> Row:
    name, path = f"{kind.name}/{pairs}", configs / kind.of_size.get(pairs, kind.settings)
    return Row(name, name, path, partial(_of_kind, kind=kind, pairs=pairs), teachers=None, students=students)


def _of_kind(config: RunConfig, kind: Kind, pairs: int) -> RunConfig:
    first, *others = kind.towers
    return replace(
        config,
        image=named_image(f"{first},size={SIDE}", config.image),
        towers=tuple(TowerConfig(name, size=SIDE) for name in others),
        distill=config.matching.with_pairs(pairs),
    )
