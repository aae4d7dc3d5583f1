import dataclasses
import importlib
import re
import subprocess
import sys
from pkgutil import iter_modules

import pytest

from pairstill import config as package
from pairstill.config import (
    AutoPhasesConfig,
    CharacteristicConfig,
    ClosedFormConfig,
    ColumnsConfig,
    CrossConfig,
    DataConfig,
    EvaluateConfig,
    FeaturesFirstConfig,
    HeadsConfig,
    HypergradientConfig,
    ImageConfig,
    LearnedConfig,
    MethodConfig,
    MixtureConfig,
    OnePhaseConfig,
    OuterConfig,
    PhaseConfig,
    PhotosConfig,
    ProjectorConfig,
    RateTrialsConfig,
    ReferencesConfig,
    RunConfig,
    ScenesConfig,
    SeedsConfig,
    SimilarityConfig,
    SplitsConfig,
    StudentConfig,
    TeacherConfig,
    TextConfig,
    TowerConfig,
    TrajectoryConfig,
)
from pairstill.core.errors import ConfigError
from pairstill.methods.apm import ApmConfig
from pairstill.methods.coresets import CoresetConfig
from pairstill.methods.ncfm import NcfmConfig

ALL = [
    AutoPhasesConfig,
    ScenesConfig,
    ColumnsConfig,
    CrossConfig,
    SplitsConfig,
    DataConfig,
    ImageConfig,
    TowerConfig,
    TextConfig,
    HeadsConfig,
    TeacherConfig,
    PhaseConfig,
    PhotosConfig,
    MixtureConfig,
    CharacteristicConfig,
    FeaturesFirstConfig,
    RateTrialsConfig,
    ProjectorConfig,
    HypergradientConfig,
    OuterConfig,
    SimilarityConfig,
    MethodConfig,
    LearnedConfig,
    TrajectoryConfig,
    OnePhaseConfig,
    StudentConfig,
    ReferencesConfig,
    ClosedFormConfig,
    EvaluateConfig,
    SeedsConfig,
    RunConfig,
    ApmConfig,
    NcfmConfig,
    CoresetConfig,
]
OF_METHODS = {ApmConfig, NcfmConfig, CoresetConfig}
"""Which stand beside their methods."""


def _dataclasses_of(source):
    return {c for c in vars(source).values() if dataclasses.is_dataclass(c) and c.__module__ == source.__name__}


def test_the_list_above_is_complete_and_the_package_offers_all_of_it():
    parts = [importlib.import_module(f"{package.__name__}.{part.name}") for part in iter_modules(package.__path__)]
    offered = {getattr(package, name) for name in package.__all__}
    assert (
        set(ALL) - OF_METHODS
        == set().union(*map(_dataclasses_of, parts))
        == set(filter(dataclasses.is_dataclass, offered))
    )


@pytest.mark.parametrize("kind", ALL)
def test_defaults_are_allowed_and_frozen(kind):
    settings = kind()
    name = dataclasses.fields(kind)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(settings, name, None)


@pytest.mark.parametrize("kind", ALL)
def test_every_setting_is_documented(kind):
    attributes = kind.__doc__.split("Attributes:")[1]
    documented = re.findall(r"^ {8}(\w+):", attributes, re.MULTILINE)
    inherited = {field.name for base in kind.__mro__[1:-1] for field in dataclasses.fields(base)}
    assert [n for n in documented if n not in inherited] == [
        field.name for field in dataclasses.fields(kind) if field.name not in inherited
    ]


def test_importing_the_settings_imports_nothing_heavy():
    code = "import sys, pairstill.config; print(*sorted({'torch', 'timm', 'transformers', 'numpy'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""


# six epochs of a teacher, starts at 0, 1 or 2; the defaults may change, these tests may not
PHASE = PhaseConfig(num_pairs=9, outer_steps=5, range_start=0, range_end=2, endpoint=6)
DISTILL = TrajectoryConfig(phases=(PHASE,), matching_span=1, range_reading="inclusive")


# what is given, and what the message must say of it: what was got and what is allowed
REFUSED = [
    (ScenesConfig, {"train": 0}, "data.scenes.train is 0; it must be above 0"),
    (ScenesConfig, {"val": -1}, "data.scenes.val is -1; it must be above 0"),
    (ScenesConfig, {"test": 0}, "data.scenes.test is 0; it must be above 0"),
    (ScenesConfig, {"size": 15}, "data.scenes.size is 15; shapes need at least 16 pixels"),
    (DataConfig, {"max_pixels": 0}, "data.max_pixels is 0; it must be above 0"),
    (DataConfig, {"source": "karpathy"}, "data.source is karpathy: set data.root"),
    (DataConfig, {"source": "karpathy", "root": "x"}, "data.source is karpathy: set data.annotations"),
    (DataConfig, {"source": "llava_cc3m", "root": "x"}, "data.source is llava_cc3m: set data.annotations"),
    (DataConfig, {"source": "table", "root": "x"}, "data.source is table: set data.annotations"),
    (DataConfig, {"source": "huggingface"}, "data.source is huggingface: set data.root"),
    (DataConfig, {"source": "huggingface", "root": "x"}, "data.source is huggingface: set data.splits.train"),
    (
        DataConfig,
        {"source": "webdataset", "root": "x", "splits": SplitsConfig(train="a", val="b")},
        "data.source is webdataset: set data.splits.train, data.splits.val and data.splits.test",
    ),
    (DataConfig, {"background": "#FFF"}, "data.background is '#FFF'; it must be white, black, or a colour"),
    *(
        (DataConfig, {"split": split}, f"data.split is {split!r}; it must be like 'random 8:1:1'")
        for split in ("8:1:1", "random 8:1", "random 0:1:1", "random 8:0:0", "random 8:-1:1", "random")
    ),
    (
        DataConfig,
        {"source": "webdataset", "root": "x", "split": "random 8:1:1", "splits": SplitsConfig(val="b")},
        "data.source is webdataset: set data.splits.train",
    ),
    *(
        (
            DataConfig,
            {"source": source, "root": "x", "split": "random 8:1:0", "splits": SplitsConfig("a")},
            "data.split is 'random 8:1:0', which gives test nothing, and data.splits.test is not set; each share must "
            "be above 0 where no images are there already, such as 'random 8:1:1'",
        )
        for source in ("coco", "blip", "folder", "webdataset")
    ),
    (ImageConfig, {"pretrained": True, "weights": "a"}, "image.pretrained and image.weights are both set; use one"),
    (ImageConfig, {"size": 0}, "image.size is 0; it must be above 0"),
    (TextConfig, {"max_tokens": 0}, "text.max_tokens is 0; it must be above 0"),
    (TextConfig, {"width": 0}, "text.width is 0; it must be above 0"),
    (HeadsConfig, {"dropout": 1.0}, "heads.dropout is 1.0; it must be in [0, 1)"),
    (HeadsConfig, {"dropout": -0.1}, "heads.dropout is -0.1; it must be in [0, 1)"),
    (HeadsConfig, {"image": True}, "heads.image is on: set heads.width"),
    (HeadsConfig, {"width": 0}, "heads.width is 0; it must be above 0"),
    (TeacherConfig, {"num_experts": 0}, "teacher.num_experts is 0; it must be above 0"),
    (TeacherConfig, {"epochs": 0}, "teacher.epochs is 0; it must be above 0"),
    (TeacherConfig, {"batch_size": 0}, "teacher.batch_size is 0; it must be above 0"),
    (TeacherConfig, {"batch_size": 1}, "teacher.batch_size is 1; a contrastive loss needs at least 2 pairs"),
    (TeacherConfig, {"lr_image": 0.0}, "teacher.lr_image is 0.0; it must be above 0"),
    (TeacherConfig, {"lr_text": -1.0}, "teacher.lr_text is -1.0; it must be above 0"),
    (TeacherConfig, {"lr_text": float("nan")}, "teacher.lr_text is nan; it must be above 0"),
    (TeacherConfig, {"momentum": 1.0}, "teacher.momentum is 1.0; it must be in [0, 1)"),
    (TeacherConfig, {"weight_decay": -1e-4}, "teacher.weight_decay is -0.0001; it must not be negative"),
    (PhaseConfig, {"num_pairs": 0}, "phase.num_pairs is 0; it must be above 0"),
    (PhaseConfig, {"outer_steps": 0}, "phase.outer_steps is 0; it must be above 0"),
    (PhaseConfig, {"endpoint": 0}, "phase.endpoint is 0; it must be above 0"),
    (PhaseConfig, {"range_start": -1, "range_end": 2}, "phase range is -1..2; it needs 0 <= range_start <= range_end"),
    (PhaseConfig, {"range_start": 3, "range_end": 2}, "phase range is 3..2; it needs 0 <= range_start <= range_end"),
    (HypergradientConfig, {"memory": 0.0}, "distill.hypergradient.memory is 0.0; it must be in (0, 1]"),
    (HypergradientConfig, {"memory": 1.5}, "distill.hypergradient.memory is 1.5; it must be in (0, 1]"),
    (OuterConfig, {"lr_images": -1.0}, "distill.outer.lr_images is -1.0; it must not be negative"),
    (OuterConfig, {"lr_texts": -1.0}, "distill.outer.lr_texts is -1.0; it must not be negative"),
    (OuterConfig, {"lr_similarity": -1.0}, "distill.outer.lr_similarity is -1.0; it must not be negative"),
    (OuterConfig, {"lr_inner_lr": -1.0}, "distill.outer.lr_inner_lr is -1.0; it must not be negative"),
    (OuterConfig, {"momentum": 1.0}, "distill.outer.momentum is 1.0; it must be from 0 to below 1"),
    (OuterConfig, {"betas": (0.5, 2.0)}, "distill.outer.betas are [0.5, 2.0]; each must be from 0 to below 1"),
    (TrajectoryConfig, {"lr_image": 0.0}, "distill.lr_image is 0.0; it must be above 0"),
    (TrajectoryConfig, {"lr_text": -1.0}, "distill.lr_text is -1.0; it must be above 0"),
    (SimilarityConfig, {"rank": 0}, "distill.similarity.rank is 0; it must be above 0"),
    (SimilarityConfig, {"scale": 0.0}, "distill.similarity.scale is 0.0; it must be above 0"),
    (AutoPhasesConfig, {"max_phases": 0}, "distill.auto_phases.max_phases is 0; it must be above 0"),
    (AutoPhasesConfig, {"repeats": 0}, "distill.auto_phases.repeats is 0; it must be above 0"),
    (AutoPhasesConfig, {"gain_left": 1.0}, "distill.auto_phases.gain_left is 1.0; it is a share, from 0 below 1"),
    (AutoPhasesConfig, {"min_agreement": 1.5}, "distill.auto_phases.min_agreement is 1.5; it is a cosine, from -1 to"),
    (
        TrajectoryConfig,
        {"auto_phases": AutoPhasesConfig(), "shortcut": False},
        "distill.auto_phases chooses start epochs and endpoints of shortcuts, but distill.shortcut is off",
    ),
    (
        RunConfig,
        {"distill": TrajectoryConfig(auto_phases=AutoPhasesConfig())},
        "but teacher.keep is endpoints: set teacher.keep to all",
    ),
    (
        RunConfig,
        {
            "teacher": TeacherConfig(keep="all", epochs=3),
            "distill": TrajectoryConfig(auto_phases=AutoPhasesConfig(), matching_span=4),
        },
        "distill.matching_span is 4 but teachers train 3 epochs; raise teacher.epochs",
    ),
    (TrajectoryConfig, {"phases": ()}, "distill.phases is empty; give at least one phase"),
    (
        TrajectoryConfig,
        {"phases": (PhaseConfig(), PhaseConfig()), "phased": False},
        "distill.phased is off but distill.phases has 2; keep one phase",
    ),
    (TrajectoryConfig, {"ema_decay": 1.0}, "distill.ema_decay is 1.0; it must be in [0, 1)"),
    (TrajectoryConfig, {"matching_span": 0}, "distill.matching_span is 0; it must be above 0"),
    (TrajectoryConfig, {"inner_steps": 0}, "distill.inner_steps is 0; it must be above 0"),
    (TrajectoryConfig, {"trajectories_per_step": 0}, "distill.trajectories_per_step is 0; it must be above 0"),
    (TrajectoryConfig, {"checkpoint_every": 0}, "distill.checkpoint_every is 0; it must be above 0"),
    (TrajectoryConfig, {"batch_size": 1}, "distill.batch_size is 1; it must be at least 2"),
    (TrajectoryConfig, {"validate_every": -1}, "distill.validate_every and patience start at 0"),
    (TrajectoryConfig, {"patience": -1, "validate_every": 1}, "distill.validate_every and patience start at 0"),
    (TrajectoryConfig, {"patience": 2, "validate_every": 0}, "distill.patience is set but distill.validate_every is 0"),
    (
        TrajectoryConfig,
        {"phases": (PHASE, PhaseConfig(range_start=2, range_end=2, endpoint=6)), "range_reading": "exclusive"},
        "phase 2: the range 2..2 read as exclusive holds no start epoch",
    ),
    (
        TrajectoryConfig,
        {"phases": (PhaseConfig(range_start=0, range_end=6, endpoint=6),)},
        "phase 1: a start at epoch 6 with matching_span 1 goes past the endpoint 6; lower range_end or raise endpoint",
    ),
    (
        TrajectoryConfig,
        {"phases": (PhaseConfig(range_start=0, range_end=2, endpoint=6),), "matching_span": 5},
        "phase 1: a start at epoch 2 with matching_span 5 goes past the endpoint 6",
    ),
    (StudentConfig, {"epochs": 0}, "student.epochs is 0; it must be above 0"),
    (StudentConfig, {"batch_size": 0}, "student.batch_size is 0; it must be at least 2"),
    (StudentConfig, {"validate_every": 0}, "student.validate_every is 0; it must be above 0"),
    (StudentConfig, {"momentum": -0.1}, "student.momentum is -0.1; it must be in [0, 1)"),
    (EvaluateConfig, {"rate_scales": (1.0, 0.0)}, "evaluate.rate_scales are [1.0, 0.0]; each must be above 0, and"),
    (EvaluateConfig, {"rate_scales": (float("inf"),)}, "evaluate.rate_scales are [inf]; each must be above 0, and"),
    (EvaluateConfig, {"num_students": 0}, "evaluate.num_students is 0; it must be above 0"),
    (
        EvaluateConfig,
        {"methods": ()},
        "evaluate.methods is empty; name at least one of random, distilled, closed_form, full",
    ),
    (
        RunConfig,
        {
            "image": ImageConfig(trainable=False),
            "heads": HeadsConfig(image=True, width=4),
            "distill": TrajectoryConfig(hypergradient=HypergradientConfig(micro_batch=2)),
        },
        "distill.hypergradient.micro_batch is set but the image tower is frozen",
    ),
    (TowerConfig, {"pretrained": True, "weights": "a"}, "image.pretrained and image.weights are both set; use one"),
    (RunConfig, {"towers": (TowerConfig(),)}, "towers names 1 more, but the image tower is trained"),
    (
        RunConfig,
        {
            "image": ImageConfig(trainable=False),
            "heads": HeadsConfig(image=True, width=4),
            "towers": (TowerConfig(size=8), TowerConfig()),
        },
        "towers names the same image tower twice, or that of image; name each once",
    ),
    (
        RunConfig,
        {"image": ImageConfig(trainable=False)},
        "image.trainable is off and heads.image is off: nothing on the image side can learn; turn one on",
    ),
    (
        RunConfig,
        {
            "image": ImageConfig(trainable=False),
            "heads": HeadsConfig(image=True, width=4),
            "teacher": TeacherConfig(augment="paper"),
        },
        "teacher.augment is paper but the image tower is frozen, or its first stages are: features are computed",
    ),
    (
        RunConfig,
        {"teacher": TeacherConfig(augment="paper", views=2)},
        "teacher.views is 2 but the image tower is trained: every mini-batch is augmented anew; leave views out",
    ),
    (TeacherConfig, {"augment": "paper", "views": 0}, "teacher.views is 0"),
    (
        TeacherConfig,
        {"augment": "paper", "image_is_view": True},
        "teacher.image_is_view is on but teacher.views is not set",
    ),
    (TeacherConfig, {"views": 4}, "views are augmented; set teacher.augment to paper"),
    (
        RunConfig,
        {"teacher": TeacherConfig(epochs=5), "distill": DISTILL},
        "the phases need snapshot 6 but teachers train 5 epochs; raise teacher.epochs",
    ),
    (
        RunConfig,
        {
            "teacher": TeacherConfig(epochs=2),
            "distill": TrajectoryConfig(shortcut=False, phases=(PhaseConfig(range_start=0, range_end=2, endpoint=1),)),
        },
        "the phases need snapshot 3 but teachers train 2 epochs",
    ),
    (RunConfig, {"ranks_timeout_minutes": 0}, "ranks_timeout_minutes is 0; it must be above 0, and finite"),
    (
        RunConfig,
        {"ranks_timeout_minutes": float("inf")},
        "ranks_timeout_minutes is inf; it must be above 0, and finite",
    ),
]


@pytest.mark.parametrize(
    ("kind", "settings", "message"), REFUSED, ids=[f"{k.__name__}-{i}" for i, (k, _, _) in enumerate(REFUSED)]
)
def test_refused_settings_say_what_was_got_and_what_is_allowed(kind, settings, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        kind(**settings)


# the edge of what is allowed, next to a refusal above
ALLOWED = [
    (ScenesConfig, {"size": 16}),
    (DataConfig, {"source": "table", "root": "x", "annotations": "y"}),
    (DataConfig, {"source": "webdataset", "root": "x", "splits": SplitsConfig("a", "b", "c")}),
    (DataConfig, {"source": "webdataset", "root": "x", "splits": SplitsConfig("a"), "split": "random 8:1:1"}),
    (DataConfig, {"source": "coco", "root": "x", "splits": SplitsConfig("a", test="b"), "split": "random 8:1:0"}),
    (DataConfig, {"source": "huggingface", "root": "x", "splits": SplitsConfig("a")}),
    (DataConfig, {"source": "coco", "root": "x", "splits": SplitsConfig("a", "b", "c")}),
    (DataConfig, {"source": "blip", "root": "x", "annotations": "a.json"}),
    (DataConfig, {"source": "folder", "root": "x"}),
    (HeadsConfig, {"dropout": 0.0}),
    (HeadsConfig, {"image": True, "width": 1}),
    (TeacherConfig, {"batch_size": 2, "momentum": 0.0, "weight_decay": 0.0}),
    (PhaseConfig, {"range_start": 2, "range_end": 2}),
    (OuterConfig, {"lr_images": 0.0}),
    (TrajectoryConfig, {"ema_decay": 0.0}),
    (TrajectoryConfig, {"phases": (PhaseConfig(range_start=0, range_end=5, endpoint=6),)}),
    (
        TrajectoryConfig,
        {"phases": (PhaseConfig(range_start=0, range_end=6, endpoint=6),), "range_reading": "exclusive"},
    ),
    (TrajectoryConfig, {"phases": (PhaseConfig(range_start=0, range_end=6, endpoint=1),), "shortcut": False}),
    (TrajectoryConfig, {"patience": 1, "validate_every": 1}),
    (RunConfig, {"teacher": TeacherConfig(epochs=6), "distill": DISTILL}),
    (RunConfig, {"image": ImageConfig(trainable=False), "heads": HeadsConfig(image=True, width=4)}),
    (RunConfig, {"teacher": TeacherConfig(augment="paper")}),
    (
        RunConfig,
        {
            "image": ImageConfig(trainable=False),
            "heads": HeadsConfig(image=True, width=4),
            "teacher": TeacherConfig(augment="paper", views=1),
        },
    ),
]


@pytest.mark.parametrize(("kind", "settings"), ALLOWED)
def test_the_edge_is_allowed(kind, settings):
    kind(**settings)


@pytest.mark.parametrize(("reading", "last"), [("inclusive", 3), ("exclusive", 2)])
def test_last_start_follows_the_reading_of_the_range(reading, last):
    phase = PhaseConfig(range_start=1, range_end=3, endpoint=6)
    assert TrajectoryConfig(phases=(phase,), range_reading=reading).last_start(phase) == last


@pytest.mark.parametrize(
    ("settings", "needed"),
    [
        ({}, 6),
        ({"shortcut": False}, 3),
        ({"shortcut": False, "range_reading": "exclusive"}, 2),
        ({"shortcut": False, "matching_span": 3}, 5),
    ],
)
def test_last_epoch_needed(settings, needed):
    distill = TrajectoryConfig(phases=(PHASE,), **settings)
    assert distill.last_epoch_needed(PHASE) == max(distill.epochs_read) == needed


def test_num_pairs_adds_the_phases():
    assert TrajectoryConfig(phases=(PhaseConfig(num_pairs=99), PhaseConfig(num_pairs=100))).num_pairs == 199


def test_the_seeds_of_parts_are_the_runs_unless_they_are_set():
    config = RunConfig(seed=3)
    assert (config.teachers_seed, config.distillation_seed) == (3, 3)
    config = RunConfig(seed=3, seeds=SeedsConfig(teachers=0, distillation=5))
    assert (config.seed, config.teachers_seed, config.distillation_seed) == (3, 0, 5)


def test_a_distillation_begins_with_the_teachers_rates_unless_it_has_its_own():
    teacher = TeacherConfig(lr_image=0.2, lr_text=0.3)
    assert RunConfig(teacher=teacher).initial_rates == (0.2, 0.3)
    assert RunConfig(teacher=teacher, distill=TrajectoryConfig(lr_text=0.5)).initial_rates == (0.2, 0.5)


@pytest.mark.parametrize(
    ("protocol", "reported"), [("strict", ("strict",)), ("paper", ("paper",)), ("both", ("strict", "paper"))]
)
def test_the_protocols_that_are_reported(protocol, reported):
    assert EvaluateConfig(protocol=protocol).protocols == reported
    assert EvaluateConfig().protocol == "strict"


def test_phases_that_set_themselves_do_not_read_the_ranges_of_their_total():
    total = (PhaseConfig(num_pairs=499, outer_steps=100),)  # whose endpoint, 6, is beyond the teachers
    teacher = TeacherConfig(epochs=4, keep="all")
    config = RunConfig(teacher=teacher, distill=TrajectoryConfig(phases=total, auto_phases=AutoPhasesConfig()))
    assert config.distill.num_pairs == 499


@pytest.mark.parametrize("name", ["run_dir", "cache_dir", "trajectories_dir"])
def test_folders_without_a_name(name):
    with pytest.raises(ConfigError, match=f"{name} is empty; name a folder"):
        RunConfig(**{name: ""})
