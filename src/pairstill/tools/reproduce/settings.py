"""Settings of a reproduction; imports nothing heavy."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pairstill.config.bounds import check_bounds
from pairstill.core.errors import ConfigError
from pairstill.tools.reproduce.paper import find_table, read_tables

METHODS_BENCHMARK = "flickr8k"
"""The benchmark that is no table of the paper: every method on Flickr8k."""
TRANSFER_BENCHMARK = "transfer"
"""The benchmark of pairs behind other encoders than those that they were made with, on Flickr8k."""
BENCHMARKS = (METHODS_BENCHMARK, TRANSFER_BENCHMARK)
FURTHER_TOWERS = ("tf_efficientnet_lite0", "tf_efficientnet_lite1")
"""The image towers of `transfer` beside MobileNet; nothing is made with the second."""

Scale = Literal["paper", "flickr8k", "scenes"]


@dataclass(frozen=True)
class Reproduction:
    """Every row of a table or benchmark, one at a time.

    Attributes:
        benchmark: `table4` and so on is a table of the paper; `flickr8k` is every method on Flickr8k at 100, 200 and
            500 pairs with frozen towers, and some of them with a trained image tower; `transfer` is what pairs for one
            image tower, or two, teach behind three, with two text encoders.
        data_root: folder of the dataset; at the scale `paper`, the folder that holds flickr30k, coco and llava_cc3m.
            The scale `scenes` needs none.
        image_weights: the image tower's weights, which Flickr8k needs.
        tower_weights: weights of further image towers by name, such as `{tf_efficientnet_lite0: FILE}`; `transfer`
            needs those of tf_efficientnet_lite0 and tf_efficientnet_lite1.
        scale: for a table: `paper` takes its rows as they are, which needs a large GPU; `flickr8k` and `scenes` scale
            them down, to Flickr8k behind frozen towers, and to the embedded pairs.
        only: rows to measure, by name, as `--list` and the tables' folders tell; for `flickr8k`, CONFIG/METHOD such as
            long_100/lors, where CONFIG/references are Random and full data, or CONFIG for all of its rows; for
            `transfer`, KIND/PAIRS such as kept_both/199, and full/TOWER/TEXT. Null measures all.
        seeds: distillation seeds of every row, from 0; each has its own teachers. Null takes the row's own number: of
            `flickr8k` three for the rows of long_100, long_200 and long_500, two for those of trainable_100; else one.
        out: folder that receives the rows' runs, the teachers that they share, and the tables.
        configs: folder of the shipped settings; null takes those that came with the package.
        device: as in `pairstill run`.
        threads: as in `pairstill run`.
        cache_dir: as in `pairstill run`.
    """

    benchmark: str
    data_root: str | None = None
    image_weights: str | None = None
    tower_weights: dict[str, str] = field(default_factory=dict)
    scale: Scale | None = None
    only: tuple[str, ...] | None = None
    seeds: int | None = None
    out: str = "runs/reproduce"
    configs: str | None = None
    device: str = "auto"
    threads: int | None = None
    cache_dir: str = "~/.cache/pairstill"

    def __post_init__(self) -> None:
        check_bounds(self)
        if self.seeds is not None and self.seeds <= 0:
            raise ConfigError(f"seeds is {self.seeds}; it must be above 0")
        if self.benchmark in BENCHMARKS:
            if self.scale not in (None, "flickr8k"):
                raise ConfigError(f"scale is {self.scale}, but {self.benchmark} is not a table; leave --scale out")
        elif self.scale is None:
            find_table(read_tables(self.configs_folder / "paper"), self.benchmark)  # a misspelt one needs no scale
            raise ConfigError(
                f"{self.benchmark} needs a scale: --scale scenes (embedded pairs, minutes), --scale flickr8k DATA "
                "WEIGHTS (frozen towers, minutes a row), or --scale paper DATA (the paper's own settings, a large GPU)"
            )
        if self.place == "scenes":
            self._refuse("scenes", data_root=self.data_root, image_weights=self.image_weights)
        elif self.data_root is None:
            raise ConfigError(f"{self.benchmark} at this scale needs the folder of the dataset after its name")
        if self.place == "flickr8k" and self.image_weights is None:
            raise ConfigError(
                f"{self.benchmark} on Flickr8k needs the image tower's weights after the dataset's folder"
            )
        if self.place == "paper":
            self._refuse("paper", image_weights=self.image_weights)
        self._check_tower_weights()

    def _check_tower_weights(self) -> None:
        needed, given = FURTHER_TOWERS if self.benchmark == TRANSFER_BENCHMARK else (), tuple(self.tower_weights)
        if set(needed) != set(given):
            raise ConfigError(
                f"tower_weights names {', '.join(given) or 'nothing'}, but {self.benchmark} needs the weights of "
                f"{' and '.join(needed) or 'no further image tower; leave it out'}"
            )

    @property
    def place(self) -> Scale:
        """The scale, which the benchmark of methods has too."""
        return self.scale or "flickr8k"

    @property
    def configs_folder(self) -> Path:
        """The folder of the shipped settings."""
        return shipped_settings(self.configs)

    def _refuse(self, scale: str, **given: str | None) -> None:
        for name, value in given.items():
            if value is not None:
                raise ConfigError(f"{name} is {value!r}, but the scale {scale} takes none; leave it out")


def shipped_settings(configs: str | None) -> Path:
    """Return the folder of the shipped settings: the one that is named, the installed package's, or the checkout's."""
    if configs is not None:
        return Path(configs).expanduser()
    installed = Path(__file__).parents[2] / "configs"
    return installed if installed.is_dir() else Path(__file__).parents[4] / "configs"
