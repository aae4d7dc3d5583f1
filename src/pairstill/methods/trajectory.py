"""The methods that match trajectories: each is a row that says which settings it fixes, and why."""

from dataclasses import replace

from pairstill.config import AutoPhasesConfig, FeaturesFirstConfig, RunConfig, TrajectoryConfig
from pairstill.methods.base import AUTO, FEATURES, Fixed, Method

GROWTH = 0.5
"""Share of the steps over which DATM's last start grows, unless the settings say another."""
PIXEL_SHARE = 8
"""A phase's steps are done on features; an eighth as many follow on pixels (features first)."""

_ONE = Fixed("phased", value=False, why="it has one teacher model for all pairs")
_RECORDED = Fixed("shortcut", value=False, why="it matches recorded trajectories")
_LAST = Fixed("ema", value=False, why="it keeps the last values, not their average")
_SIMILARITIES = Fixed("loss", "wbce", "it learns similarities")
_WHOLE_RANGE = Fixed("range_growth", 0.0, "a range that grows makes it DATM")
_EPOCHS = Fixed("start_sampling", "epochs", "starts between epochs make it MCT")
_SHARP = Fixed("blend", value=False, why="blended pairs make it RepBlend")
_BLEND = Fixed("blend", value=True, why="blended pairs are what makes it this method")
_LEARNED = Fixed("images", "pixels", "photos that are kept make it PTM-ST on kept photos (ptm_st_kept)")
_LORS = (_LEARNED, _ONE, _RECORDED, _LAST, _SIMILARITIES, _WHOLE_RANGE, _EPOCHS)

_LEARNS = "learns images, text embeddings, similarities, rates"
_NEEDS = ("teacher", "trajectories")
_BEHIND_FEATURES = (*_NEEDS, "features")


def _whole_path(distill: TrajectoryConfig, run: RunConfig) -> TrajectoryConfig:
    """Return settings of one phase with starts from the first epoch to the last that has a target."""
    (phase,) = distill.phases
    epochs = run.teacher.epochs
    last = epochs - distill.matching_span + (distill.range_reading == "exclusive")
    return replace(distill, phases=(replace(phase, range_start=0, range_end=last, endpoint=epochs),))


def _growing(distill: TrajectoryConfig, run: RunConfig) -> TrajectoryConfig:
    """Return settings whose last start epoch grows to the last that has a target."""
    return replace(_whole_path(distill, run), range_growth=distill.range_growth or GROWTH)


def _features_first(distill: TrajectoryConfig, run: RunConfig) -> TrajectoryConfig:
    """Return settings most of whose steps are done on features, unless they say how many are."""
    if distill.features_first.steps:
        return distill
    steps = max(phase.outer_steps for phase in distill.phases)
    phases = tuple(replace(phase, outer_steps=max(1, phase.outer_steps // PIXEL_SHARE)) for phase in distill.phases)
    return replace(distill, phases=phases, features_first=replace(distill.features_first, steps=steps))


def _auto(distill: TrajectoryConfig, run: RunConfig) -> TrajectoryConfig:
    """Return settings with phases that set themselves, and behind a frozen tower most steps on features."""
    distill = distill if run.image.trains else _features_first(distill, run)
    return replace(distill, auto_phases=distill.auto_phases or AutoPhasesConfig())


def _steps_on_features(distill: TrajectoryConfig, run: RunConfig) -> TrajectoryConfig:
    """Return settings whose steps are those of a warm start on features, if there is one: here all steps are."""
    steps = distill.features_first.steps
    if not steps:
        return distill
    phases = tuple(replace(phase, outer_steps=steps) for phase in distill.phases)
    return replace(distill, phases=phases, features_first=FeaturesFirstConfig())


# matching recorded trajectories with InfoNCE
MTT_VL = Method(
    "mtt_vl",
    "MTT-VL",
    "arXiv 2308.07545",
    "learns images, text embeddings, rates",
    _NEEDS,
    fixed=(
        *(_LEARNED, _ONE, _RECORDED, _LAST, _WHOLE_RANGE, _EPOCHS, _SHARP),
        Fixed("loss", "infonce", "it learns no similarities"),
    ),
    benchmarks=("frozen", "short", "long", "trainable"),
)
# The kind of the similarities, full or of low rank, is a setting. LoRS trains the image tower; behind a frozen one,
# where a head on each side learns and both are matched, it is a part of RepBlend, and is called so.
LORS = Method(
    "lors",
    "LoRS",
    "arXiv 2406.03793",
    _LEARNS,
    _NEEDS,
    fixed=(*_LORS, _SHARP),
    frozen_title="LoRS + symmetric heads",
    benchmarks=("frozen", "short", "long", "residual", "trainable"),
)
# LoRS from easy to hard
DATM = Method(
    "datm",
    "DATM",
    "arXiv 2310.05773",
    _LEARNS,
    _NEEDS,
    fixed=(*(fixed for fixed in _LORS if fixed is not _WHOLE_RANGE), _SHARP),
    follow=_growing,
    benchmarks=("frozen", "short", "long"),
)
# one straight line from the untrained model to the teachers' last epoch, matched from anywhere on it
MCT = Method(
    "mct",
    "MCT",
    "arXiv 2406.19827",
    _LEARNS,
    _NEEDS,
    fixed=(
        *(_LEARNED, _ONE, _LAST, _SIMILARITIES, _WHOLE_RANGE, _SHARP),
        Fixed("shortcut", value=True, why="it matches one straight line"),
        Fixed("start_sampling", "continuous", "it starts anywhere on the line"),
        Fixed("auto_phases", None, "its line goes from the first epoch to the last"),
    ),
    follow=_whole_path,
    benchmarks=("frozen", "short", "long"),
)
# phased teacher models with shortcut trajectories: what the settings are made for
PTM_ST = Method(
    "ptm_st",
    "PTM-ST",
    "arXiv 2603.25388",
    _LEARNS,
    _NEEDS,
    fixed=(_LEARNED,),
    benchmarks=("frozen", "short", "long", "residual", "trainable"),
)
# PTM-ST without phases that somebody sets; behind a frozen tower most steps are done on features
PTM_ST_AUTO = Method(
    "ptm_st_auto",
    f"PTM-ST{AUTO}",
    "arXiv 2603.25388; the rule that sets phases is this project's",
    _LEARNS,
    _NEEDS,
    fixed=(_LEARNED,),
    follow=_auto,
    benchmarks=("long", "trainable"),
)
# LoRS behind a frozen tower, where every inner step sees blended representations; both heads are matched. They are
# residual (`heads.kind`): a linear head of a blend is the blend of what it makes of the parts.
REPBLEND = Method(
    "repblend",
    "RepBlend",
    "arXiv 2505.14705",
    _LEARNS,
    _BEHIND_FEATURES,
    fixed=(*_LORS, _BLEND),
    benchmarks=("residual",),
)
# the first changes which teacher is matched, the second how pairs are seen
PTM_ST_BLEND = Method(
    "ptm_st_blend",
    "PTM-ST + blend",
    "arXiv 2603.25388 and 2505.14705, combined here",
    _LEARNS,
    _BEHIND_FEATURES,
    fixed=(_LEARNED, _BLEND),
    benchmarks=("residual",),
)
# behind a frozen tower, distil features, find pixels that have them, then go on a little on pixels
FEATURES_FIRST = Method(
    "features_first",
    f"PTM-ST{FEATURES}",
    "this project",
    "learns features, then images; text embeddings, similarities, rates",
    _BEHIND_FEATURES,
    fixed=(_LEARNED,),
    follow=_features_first,
    benchmarks=("frozen",),
)
# PTM-ST whose images are real photos: behind a frozen tower their features are all that the loops see
PTM_ST_KEPT = Method(
    "ptm_st_kept",
    "PTM-ST, photos kept",
    "this project",
    "chooses photos; learns text embeddings or mixtures of captions, similarities, rates",
    _BEHIND_FEATURES,
    fixed=(
        Fixed("images", "kept", "its images are real photos"),
        Fixed("init", "real", "its images are real photos"),
    ),
    follow=_steps_on_features,
)
