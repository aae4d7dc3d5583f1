"""Settings of the students, and of what is measured on them."""

from dataclasses import dataclass, field
from typing import Literal, get_args

from pairstill.config.changed import changed
from pairstill.config.checks import require, require_positive
from pairstill.config.roles import setting
from pairstill.config.scales import require_scales, trials_of

EvaluationProtocol = Literal["strict", "paper"]
EvaluatedRow = Literal["random", "distilled", "closed_form", "full", "on_disk", "on_disk_jpeg", "random_on_disk"]


@dataclass(frozen=True)
class StudentConfig:
    """Training of a student on the distilled pairs, phase after phase.

    Attributes:
        epochs: epochs on each phase (50 in the paper; the authors' code uses 100).
        batch_size: pairs in a mini-batch; null takes the inner loop's, which the distilled pairs were made for
            (the paper uses 128 whatever the inner loop has). Random pairs use `teacher.batch_size`.
        momentum: momentum of SGD.
        weight_decay: weight decay of SGD.
        validate_every: epochs between validations; the last epoch of a phase is always validated.
    """

    epochs: int = setting(50, always=True)
    batch_size: int | None = setting(None, always=True)
    momentum: float = setting(0.9, always=True)
    weight_decay: float = setting(5e-4, always=True)
    validate_every: int = setting(1, always=True)

    def __post_init__(self) -> None:
        require_positive("student", epochs=self.epochs, validate_every=self.validate_every)
        if self.batch_size is not None:
            require(self.batch_size >= 2, f"student.batch_size is {self.batch_size}; it must be at least 2")
        require(0 <= self.momentum < 1, f"student.momentum is {self.momentum}; it must be in [0, 1)")


@dataclass(frozen=True)
class ReferencesConfig:
    """The two references of every table: random real pairs, and all of them.

    Attributes:
        momentum: momentum of SGD on all pairs (random pairs use the students').
        weight_decay: weight decay of SGD on all pairs.
        random_pairs: number of random real pairs; null takes as many as hold the bytes of the distilled set, its
            similarities included, or all training images if they are fewer.
        full_epochs: epochs on all pairs; null takes the teachers'.
    """

    momentum: float = setting(0.9, always=True)
    weight_decay: float = setting(5e-4, always=True)
    random_pairs: int | None = setting(None, always=True)
    full_epochs: int | None = setting(12, always=True)

    def __post_init__(self) -> None:
        counts = {"random_pairs": self.random_pairs, "full_epochs": self.full_epochs}
        require_positive("evaluate.references", **{name: count for name, count in counts.items() if count is not None})


@dataclass(frozen=True)
class CrossConfig:
    """Students with other encoders than those that the pairs were distilled for.

    Attributes:
        ridge: strength of the regression that maps text embeddings to another encoder's, in units of their variance.
    """

    ridge: float = 0.01

    def __post_init__(self) -> None:
        require_positive("evaluate.cross", ridge=self.ridge)


@dataclass(frozen=True)
class ClosedFormConfig:
    """Students whose linear heads are solved from the pairs; those of APM's pairs are as `distill.projector` says.

    Attributes:
        ridges: candidates for the ridge of the covariances, in units of the mean of their diagonals; validation
            chooses, by the projectors of all real pairs.
        width: rank of the student's two projectors, whose product is the solved one.
    """

    ridges: tuple[float, ...] = (0.05, 0.2, 0.5, 1.0, 2.0)
    width: int = 256

    def __post_init__(self) -> None:
        require(len(self.ridges) > 0, "evaluate.closed_form.ridges is empty; give at least one")
        require(
            all(r > 0 for r in self.ridges),
            f"evaluate.closed_form.ridges are {list(self.ridges)}; each must be above 0",
        )
        require_positive("evaluate.closed_form", width=self.width)


@dataclass(frozen=True)
class EvaluateConfig:
    """What is measured, and how.

    Attributes:
        protocol: `strict` chooses the epoch on the validation split and reads the test split once;
            `paper` reports the best epoch on the test split, which is optimistic, to compare with published tables;
            `both` trains every student once and reports it both ways, so that the optimism can be seen.
        num_students: students per method, each with its own seed.
        methods: which rows to measure; `closed_form` is the student that APM means, whose linear heads are solved from
            the pairs in place of being trained on them; `on_disk` are students of the pairs as they are read from their
            smallest files, `on_disk_jpeg` those whose pixels are JPEG there in place of PNG, and `random_on_disk` those
            of as many random photos with captions as the smallest files have bytes.
        rate_scales: what rates are multiplied with, the image side's first, then the text side's; validation chooses,
            once for all students of a set, and 1 is always tried. It is the teachers' rates for real pairs (random,
            coresets, full data), and the learned ones of sides with another encoder.
        scale_learned: whether learned rates are scaled in the same way behind their own encoders, too; off trains
            students at the rates that were learned, as in the paper.
        jpeg_qualities: what `on_disk_jpeg` tries from the highest on, until the validation recall of a student is lower
            than from PNG; the last before counts, and where there is none, PNG stays.
        references: settings of the rows `random` and `full`.
        cross: settings of students with other encoders.
        closed_form: settings of the students in closed form.
    """

    protocol: Literal["strict", "paper", "both"] = "strict"
    num_students: int = 3
    methods: tuple[EvaluatedRow, ...] = (
        "random",
        "distilled",
        "full",
    )
    rate_scales: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0)
    scale_learned: bool = changed(True, before=False)
    jpeg_qualities: tuple[int, ...] = (80, 85, 90, 95, 98, 100)
    references: ReferencesConfig = field(default_factory=ReferencesConfig)
    cross: CrossConfig = field(default_factory=CrossConfig)
    closed_form: ClosedFormConfig = field(default_factory=ClosedFormConfig)

    def __post_init__(self) -> None:
        require_positive("evaluate", num_students=self.num_students)
        require(
            len(self.methods) > 0,
            f"evaluate.methods is empty; name at least one of {', '.join(get_args(EvaluatedRow))}",
        )
        require(
            len(self.jpeg_qualities) > 0 and all(1 <= quality <= 100 for quality in self.jpeg_qualities),
            f"evaluate.jpeg_qualities are {list(self.jpeg_qualities)}; give at least one, each from 1 to 100",
        )
        require_scales("evaluate.rate_scales", self.rate_scales)

    def rate_trials(self, sides: int = 2) -> int:
        """Return how many students are trained in order to choose the scales of the rates of so many sides.

        Example:
            >>> EvaluateConfig(rate_scales=(0.1, 1.0, 3.0)).rate_trials()
            5
        """
        return trials_of(self.rate_scales, sides)

    @property
    def protocols(self) -> tuple[EvaluationProtocol, ...]:
        """The protocols by which every student is reported."""
        return ("strict", "paper") if self.protocol == "both" else (self.protocol,)
