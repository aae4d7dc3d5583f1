"""Settings of the benchmarks; imports nothing heavy."""

from dataclasses import dataclass
from typing import Literal

from pairstill.config.bounds import check_bounds
from pairstill.core.errors import ConfigError


@dataclass(frozen=True)
class BenchSettings:
    """What every benchmark takes.

    Attributes:
        device: `cpu`, `cuda`, `cuda:1`, ...; `auto` takes a GPU if there is one.
        threads: CPU threads of the tensor library; null leaves its default.
        rounds: times that every variant runs, in turn with the others; the median counts.
        seed: seed of the random data.
        memory: also measure each variant's peak memory, in a process of its own.
        peak_of: measure only this variant's peak memory, in this process, and print the bytes.
    """

    device: str = "auto"
    threads: int | None = None
    rounds: int = 3
    seed: int = 0
    memory: bool = True
    peak_of: str | None = None

    def __post_init__(self) -> None:
        check_bounds(self)
        for name, value in vars(self).items():
            numeric = isinstance(value, int | float) and not isinstance(value, bool)
            if numeric and name != "seed" and value <= 0:
                raise ConfigError(f"{name} is {value}; it must be above 0")


@dataclass(frozen=True)
class HypergradientBench(BenchSettings):
    """The hypergradient of one segment in every mode, with random weights.

    Attributes:
        model: timm's name of the image tower, which is trained.
        size: side of the images in pixels.
        batch: distilled pairs in a mini-batch of the inner loop.
        inner_steps: inner steps.
        pairs: distilled pairs.
        text_width: width of the text embeddings.
        modes: the modes to measure.
        precisions: further rows for these: `bfloat16`, and on GPUs `tf32`; what they lose shows in the agreement.
        micro_batch: a further row where the tower takes so many images at a time; null leaves it out.
        last_stages: a further row for an outer step in which so many of the tower's last stages are trained, and the
            rest of it takes all pairs once, there and back; null leaves it out.
        layout: memory layout of the images; a first row always is `unrolled` in plain contiguous memory.
    """

    model: str = "nf_resnet26"
    size: int = 64
    batch: int = 20
    inner_steps: int = 8
    pairs: int = 100
    text_width: int = 384
    modes: tuple[Literal["unrolled", "exact_store", "exact_recompute", "truncated"], ...] = (
        "unrolled",
        "exact_store",
        "exact_recompute",
        "truncated",
    )
    precisions: tuple[Literal["tf32", "bfloat16"], ...] = ()
    micro_batch: int | None = None
    last_stages: int | None = None
    layout: Literal["channels_last", "contiguous"] = "channels_last"


@dataclass(frozen=True)
class FrozenBench(BenchSettings):
    """One outer step behind a frozen tower: the tower once per step, against the tower in every inner step.

    Attributes:
        model: timm's name of the image tower.
        size: side of the images in pixels.
        batch: distilled pairs in a mini-batch of the inner loop.
        inner_steps: inner steps.
        stretches: segments of the teachers whose hypergradients an outer step averages; the configs for frozen towers
            take 8.
        pairs: distilled pairs.
        text_width: width of the text embeddings.
        width: width of the shared space.
    """

    model: str = "mobilenetv1_075"
    size: int = 160
    batch: int = 20
    inner_steps: int = 8
    stretches: int = 1
    pairs: int = 100
    text_width: int = 384
    width: int = 512


@dataclass(frozen=True)
class RecallBench(BenchSettings):
    """Recall in both directions: in tiles, against sorting row by row in NumPy.

    Attributes:
        images: images.
        captions: captions of each image.
        width: width of the embeddings.
    """

    images: int = 5000
    captions: int = 5
    width: int = 512


@dataclass(frozen=True)
class TeacherBench(BenchSettings):
    """An epoch of a teacher on pairs that are in memory.

    Attributes:
        model: timm's name of the image tower.
        size: side of the images in pixels.
        batch: pairs in a mini-batch.
        images: images of the epoch, one caption each.
        text_width: width of the text embeddings.
        width: width of the shared space behind the frozen tower.
    """

    model: str = "mobilenetv1_075"
    size: int = 96
    batch: int = 128
    images: int = 512
    text_width: int = 384
    width: int = 512


@dataclass(frozen=True)
class TrajectoriesBench(BenchSettings):
    """Trajectories on disk: bytes of all experts, and the time to read what one segment needs.

    Attributes:
        model: timm's name of the image tower, which is trained.
        text_width: width of the text embeddings.
        experts: experts that the bytes are stated for.
        epochs: epochs of an expert.
        endpoints: the phases' endpoints.
    """

    model: str = "nf_resnet26"
    text_width: int = 384
    experts: int = 20
    epochs: int = 10
    endpoints: tuple[int, ...] = (6, 8)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.endpoints or not all(2 <= endpoint <= self.epochs for endpoint in self.endpoints):
            raise ConfigError(f"endpoints are {list(self.endpoints)}; each must be in 2..{self.epochs}, the epochs")


BENCHMARKS: dict[str, type[BenchSettings]] = {
    "hypergradient": HypergradientBench,
    "frozen": FrozenBench,
    "recall": RecallBench,
    "teacher": TeacherBench,
    "trajectories": TrajectoriesBench,
}
