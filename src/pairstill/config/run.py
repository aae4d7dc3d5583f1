"""Settings of a run: all the others, and what must hold between them."""

from dataclasses import dataclass
from typing import Literal

from pairstill.config.bounds import check_bounds
from pairstill.config.changed import changed
from pairstill.config.checks import require
from pairstill.config.data import DataConfig
from pairstill.config.encoders import HeadsConfig, ImageConfig, TextConfig, TowerConfig
from pairstill.config.evaluate import ClosedFormConfig, EvaluateConfig, StudentConfig
from pairstill.config.learned import LearnedConfig
from pairstill.config.method import MethodConfig
from pairstill.config.phases import AutoPhasesConfig
from pairstill.config.roles import setting
from pairstill.config.teacher import TeacherConfig
from pairstill.config.trajectory import TrajectoryConfig
from pairstill.core.errors import ConfigError

InfoNCE = Literal["mean", "sum"]


@dataclass(frozen=True)
class SeedsConfig:
    """Seeds of the parts of a run, to vary one of them while the others stay.

    Attributes:
        teachers: seed of the teachers; null takes the run's.
        distillation: seed of the distillation or of the choice of real pairs; null takes the run's.
    """

    teachers: int | None = None
    distillation: int | None = None


@dataclass(frozen=True)
class RunConfig:
    """One run, from real pairs to a table of recalls.

    Attributes:
        run_dir: folder that receives everything the run makes; an interrupted run goes on from it.
        method: what makes the pairs; `pairstill methods` lists them. It decides which settings `distill` has, and fixes
            those that make it what it is.
        trajectories_dir: folder of the teachers' trajectories, for runs that share teachers; null finds
            them again by their content below `cache_dir` (see `reuse`).
        seed: seed of the run; teachers, distillation and students derive theirs from it.
        seeds: other seeds for the teachers or the distillation, so that `seed` decides the students alone.
        device: `auto` takes a GPU if there is one (under torchrun, one each); or `cpu`, `cuda`, `cuda:1`, ...
        threads: CPU threads of the tensor library; null leaves its default.
        ranks_timeout_minutes: under torchrun, the longest that a process waits for another; it must exceed the
            encoding of all pairs, an epoch of a teacher and a validation.
        cache_dir: folder for text embeddings, frozen features, extracted images and teachers, shared between runs;
            `pairstill cache` shows what is there.
        reuse: take teachers and distilled pairs that another run made of the same content, and leave this run's to
            others; off makes everything anew, in `run_dir`.
        verify: read every image again, even those whose size and times are what they were when it was checked.
        tracker: also show metrics in `wandb`, `trackio` or `tensorboard` (the extra of the same name) while the run
            goes on; `metrics.jsonl` is written whatever is chosen.
        info_nce: how InfoNCE, wherever it is the loss, puts its two directions together: their `mean`, as the paper's
            code, or their `sum`, as its Eq. 8 is printed. With SGD, the sum at a rate is the mean at twice the rate.
        data: the real pairs.
        image: the image tower.
        towers: further frozen image towers that the pairs are made for, beside `image`; each has teachers, heads and
            learned rates of its own, while images (pixels in [0, 1], as large as the largest tower's), texts and
            similarities are common to all. Nothing here makes pairs for `image` alone.
        text: the text tower.
        heads: the projection heads.
        teacher: the teachers.
        distill: the settings of the method.
        student: the students.
        evaluate: what is measured.
    """

    run_dir: str = setting("runs/default", role="place")
    method: str = setting("ptm_st", role="made")
    trajectories_dir: str | None = setting(None, role="teachers_place")
    seed: int = setting(0, role="seed")
    seeds: SeedsConfig = setting(factory=SeedsConfig, role="seed")
    device: str = setting("auto", role="place")
    threads: int | None = setting(None, role="place")
    ranks_timeout_minutes: float = setting(360.0, role="place")
    cache_dir: str = setting("~/.cache/pairstill", role="place")
    reuse: bool = setting(True, role="place")
    verify: bool = setting(False, role="place")
    tracker: Literal["wandb", "trackio", "tensorboard"] | None = setting(None, role="place")
    info_nce: InfoNCE = changed("mean", before="sum", role="loss")
    data: DataConfig = setting(factory=DataConfig, role="content")
    image: ImageConfig = setting(factory=ImageConfig, role="content")
    towers: tuple[TowerConfig, ...] = setting((), role="content")
    text: TextConfig = setting(factory=TextConfig, role="content")
    heads: HeadsConfig = setting(factory=HeadsConfig, role="model")
    teacher: TeacherConfig = setting(factory=TeacherConfig, role="model")
    distill: MethodConfig = setting(factory=TrajectoryConfig, role="made")
    student: StudentConfig = setting(factory=StudentConfig, role="student")
    evaluate: EvaluateConfig = setting(factory=EvaluateConfig, role="measure")

    def __post_init__(self) -> None:
        require(self.threads is None or self.threads > 0, f"threads is {self.threads}; it must be above 0, or null")
        require(
            0 < self.ranks_timeout_minutes < float("inf"),
            f"ranks_timeout_minutes is {self.ranks_timeout_minutes}; it must be above 0, and finite",
        )
        for name in ("run_dir", "cache_dir", "trajectories_dir"):
            require(getattr(self, name) != "", f"{name} is empty; name a folder, or `.` for the one that you are in")
        check_bounds(self)
        require(
            self.image.trains or self.heads.image,
            "image.trainable is off and heads.image is off: nothing on the image side can learn; turn one on",
        )
        self._check_tower()
        self.distill.check_in(self)

    def _check_tower(self) -> None:
        """Refuse what needs a trained image tower where it is frozen, and the other way round."""
        require(
            not self.image.sees_features or self.teacher.augment == "none" or self.teacher.views is not None,
            "teacher.augment is paper but the image tower is frozen, or its first stages are: features are computed "
            "beforehand; set teacher.views to how many augmented views of each image, such as 4, or teacher.augment to "
            "none",
        )
        require(
            self.image.sees_features or self.teacher.views is None,
            f"teacher.views is {self.teacher.views} but the image tower is trained: every mini-batch is augmented "
            "anew; leave views out",
        )
        require(
            not (self.towers and self.image.trains),
            f"towers names {len(self.towers)} more, but the image tower is trained: pairs are made for several towers "
            "that are frozen; set image.trainable to false, or leave towers out",
        )
        require(
            len(set(self.images)) == len(self.images),
            "towers names the same image tower twice, or that of image; name each once",
        )

    @property
    def images(self) -> tuple[ImageConfig, ...]:
        """The image towers that the pairs are made for, `image` first."""
        return self.image, *(tower.image for tower in self.towers)

    def check_one_tower(self, what: str) -> None:
        """Refuse settings of several image towers where but one is known.

        Args:
            what: what knows but one, as the beginning of a sentence.

        Raises:
            ConfigError: there are several.
        """
        require(
            not self.towers,
            f"{what} knows pairs for one image tower, and these are for {len(self.images)}: "
            f"{', '.join(image.name for image in self.images)}; `pairstill evaluate` and `pairstill report` show them "
            "behind each",
        )

    @property
    def matching(self) -> TrajectoryConfig:
        """The settings of `distill`, of a method that matches trajectories.

        Raises:
            ConfigError: the method does something else.
        """
        if isinstance(self.distill, TrajectoryConfig):
            return self.distill
        raise ConfigError(f"method {self.method} matches no trajectories, which this is about; choose one that does")

    @property
    def loop(self) -> TrajectoryConfig:
        """The settings of `distill` as an outer loop takes them, of a method that learns pairs.

        Raises:
            ConfigError: the method does something else.
        """
        if isinstance(self.distill, LearnedConfig):
            return self.distill.loop
        raise ConfigError(f"method {self.method} learns no pairs, which this is about; choose one that does")

    @property
    def auto_phases(self) -> AutoPhasesConfig | None:
        """How phases set themselves, if they do."""
        return self.distill.auto_phases if isinstance(self.distill, TrajectoryConfig) else None

    @property
    def initial_rates(self) -> tuple[float, float]:
        """Inner rates of the image and the text side that a distillation begins with; by default the teachers'."""
        teacher, learned = self.teacher, self.distill
        own = (learned.lr_image, learned.lr_text) if isinstance(learned, LearnedConfig) else (None, None)
        return own[0] or teacher.lr_image, own[1] or teacher.lr_text

    @property
    def closed_form(self) -> ClosedFormConfig:
        """How students are solved from pairs: as the method has it, if it makes its pairs for one way."""
        return self.distill.closed_form or self.evaluate.closed_form

    @property
    def teachers_seed(self) -> int:
        """Seed of the teachers."""
        return self.seed if self.seeds.teachers is None else self.seeds.teachers

    @property
    def distillation_seed(self) -> int:
        """Seed of the distillation, or of the choice of real pairs."""
        return self.seed if self.seeds.distillation is None else self.seeds.distillation
