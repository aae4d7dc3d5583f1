"""Settings of a reproduction; imports nothing heavy."""

from dataclasses import dataclass
from typing import Literal

from pairstill.errors import ConfigError


@dataclass(frozen=True)
class Reproduction:
    """Every row of a benchmark, one at a time.

    Attributes:
        benchmark: `flickr8k` is every method on Flickr8k at 100, 200 and 500 pairs with frozen towers, and four of them
            with a trained image tower.
        data_root: folder of the dataset.
        image_weights: the image tower's weights.
        only: rows to measure, as CONFIG/METHOD such as frozen_100/lors; null measures all. CONFIG/references are Random
            and full data.
        seeds: distillation seeds of every row, from 0; each has its own teachers.
        out: folder that receives the rows' runs, the teachers that they share, and the tables.
        configs: folder of the shipped settings; null takes the checkout's.
        device: as in `pairstill run`.
        threads: as in `pairstill run`.
        cache_dir: as in `pairstill run`.
    """

    benchmark: Literal["flickr8k"]
    data_root: str
    image_weights: str
    only: tuple[str, ...] | None = None
    seeds: int = 1
    out: str = "runs/reproduce"
    configs: str | None = None
    device: str = "auto"
    threads: int | None = None
    cache_dir: str = "~/.cache/pairstill"

    def __post_init__(self) -> None:
        if self.seeds <= 0:
            raise ConfigError(f"seeds is {self.seeds}; it must be above 0")
