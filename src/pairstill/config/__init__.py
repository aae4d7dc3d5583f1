"""Every setting of a run, as frozen dataclasses that check themselves; imports nothing heavy.

A run is described by one `RunConfig`. Each part is passed on as the smallest piece that is needed.
Rates and sizes default to the embedded benchmark (`scenes`); `configs/` holds the others.
"""

from pairstill.config.data import MAX_CAPTION_WORDS, CaptionForm, ColumnsConfig, DataConfig, ScenesConfig, SplitsConfig
from pairstill.config.encoders import HeadsConfig, ImageConfig, TextConfig, TowerConfig
from pairstill.config.evaluate import (
    ClosedFormConfig,
    CrossConfig,
    EvaluateConfig,
    EvaluationProtocol,
    ReferencesConfig,
    StudentConfig,
)
from pairstill.config.learned import LearnedConfig
from pairstill.config.made_of import MixtureConfig, PhotosConfig
from pairstill.config.method import MethodConfig
from pairstill.config.objectives import CharacteristicConfig, ProjectorConfig
from pairstill.config.one_phase import OnePhaseConfig
from pairstill.config.outer import (
    Derivative,
    FeaturesFirstConfig,
    HypergradientConfig,
    Mode,
    OuterConfig,
    RateTrialsConfig,
    SimilarityConfig,
)
from pairstill.config.phases import AutoPhasesConfig, PhaseConfig
from pairstill.config.run import InfoNCE, RunConfig, SeedsConfig
from pairstill.config.teacher import TeacherConfig
from pairstill.config.trajectory import TrajectoryConfig

__all__ = [  # in the order in which the documentation shows them
    "MAX_CAPTION_WORDS",
    "CaptionForm",
    "ScenesConfig",
    "ColumnsConfig",
    "SplitsConfig",
    "DataConfig",
    "ImageConfig",
    "TowerConfig",
    "TextConfig",
    "HeadsConfig",
    "TeacherConfig",
    "PhaseConfig",
    "AutoPhasesConfig",
    "OuterConfig",
    "SimilarityConfig",
    "Mode",
    "Derivative",
    "HypergradientConfig",
    "FeaturesFirstConfig",
    "RateTrialsConfig",
    "PhotosConfig",
    "MixtureConfig",
    "MethodConfig",
    "LearnedConfig",
    "TrajectoryConfig",
    "OnePhaseConfig",
    "ProjectorConfig",
    "CharacteristicConfig",
    "StudentConfig",
    "ReferencesConfig",
    "CrossConfig",
    "ClosedFormConfig",
    "EvaluationProtocol",
    "EvaluateConfig",
    "SeedsConfig",
    "InfoNCE",
    "RunConfig",
]
