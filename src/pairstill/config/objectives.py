"""Settings of the objectives that compare statistics of the pairs."""

from dataclasses import dataclass

from pairstill.config.checks import require, require_positive


@dataclass(frozen=True)
class ProjectorConfig:
    """The objective `projector` (APM): the closed-form projector of the distilled pairs should be the real ones'.

    Attributes:
        ridge: added to the diagonals of the covariances, in units of their mean.
        weight: weight of the square distance between the projectors, relative to the real one's square norm.
        temperature: of the softened similarities that are distilled.
        batch_size: real pairs in a mini-batch.
    """

    ridge: float = 0.05
    weight: float = 0.01
    temperature: float = 10.0
    batch_size: int = 256

    def __post_init__(self) -> None:
        require_positive(
            "distill.projector", ridge=self.ridge, temperature=self.temperature, batch_size=self.batch_size
        )
        require(self.weight >= 0, f"distill.projector.weight is {self.weight}; it must not be negative")


@dataclass(frozen=True)
class CharacteristicConfig:
    """The objective `characteristic` (NCFM): clusters of distilled pairs should be distributed as those of real pairs.

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
