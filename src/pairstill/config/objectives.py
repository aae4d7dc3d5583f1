"""Settings of the objectives that compare statistics of the pairs."""

from dataclasses import dataclass

from pairstill.config.checks import require, require_positive


@dataclass(frozen=True)
class ProjectorConfig:
    """The objective `projector` (APM): the closed-form projector of the distilled pairs should be the real ones'.

    Attributes:
        ridges: what may be added to the diagonals of the covariances, in units of their mean; validation chooses that
            with which the projector of all training pairs has the best recall. A single one is taken as it is.
        width: of the two projectors of the student in closed form, at most that of the heads.
        weight: weight of the square distance between the projectors, relative to the real one's square norm.
        similarity_weight: weight of the divergence of softened similarities, times the square of their temperature.
        temperature: of the softened similarities.
        batch_size: real pairs in a mini-batch.
    """

    ridges: tuple[float, ...] = (0.05, 0.2, 0.5, 1.0, 2.0)
    width: int = 256
    weight: float = 10.0
    similarity_weight: float = 30.0
    temperature: float = 10.0
    batch_size: int = 256

    def __post_init__(self) -> None:
        require(len(self.ridges) > 0, "distill.projector.ridges is empty; give at least one")
        require(
            all(r > 0 for r in self.ridges), f"distill.projector.ridges are {list(self.ridges)}; each must be above 0"
        )
        require_positive(
            "distill.projector", width=self.width, temperature=self.temperature, batch_size=self.batch_size
        )
        for name in ("weight", "similarity_weight"):
            require(
                getattr(self, name) >= 0,
                f"distill.projector.{name} is {getattr(self, name)}; it must not be negative",
            )


@dataclass(frozen=True)
class CharacteristicConfig:
    """The objective `characteristic` (NCFM): clusters of distilled pairs should be distributed as those of real pairs.

    An outer step goes over all clusters, and moves the pairs once for each.

    Attributes:
        clusters: clusters of the real pairs' joint features, which stand for classes; at most one for each pair.
        frequencies: frequencies at which characteristic functions are compared, drawn anew in every step.
        alpha: weight of the amplitudes; the phases have the rest.
        batch_size: real pairs of each cluster in a step.
        lr_sampler: rate at which the scales of the frequencies go where the difference grows; 0 keeps them at one.
    """

    clusters: int = 10
    frequencies: int = 512
    alpha: float = 0.5
    batch_size: int = 64
    lr_sampler: float = 0.01

    def __post_init__(self) -> None:
        require_positive(
            "distill.characteristic",
            clusters=self.clusters,
            frequencies=self.frequencies,
            batch_size=self.batch_size,
        )
        require(0 <= self.alpha <= 1, f"distill.characteristic.alpha is {self.alpha}; it must be in [0, 1]")
        require(
            self.lr_sampler >= 0, f"distill.characteristic.lr_sampler is {self.lr_sampler}; it must not be negative"
        )
