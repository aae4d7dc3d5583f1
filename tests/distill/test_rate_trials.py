from dataclasses import replace

import pytest

from pairstill.config import FeaturesFirstConfig, PhaseConfig, RateTrialsConfig, TrajectoryConfig
from pairstill.core.errors import ConfigError
from pairstill.distill.rate_trials import at_outer_scale, trial_loop

LOOP = TrajectoryConfig(phases=(PhaseConfig(6, 40, 0, 1, 3), PhaseConfig(5, 50, 1, 2, 4)), validate_every=5, patience=2)
WARM = replace(LOOP, features_first=FeaturesFirstConfig(steps=30))


def test_every_outer_rate_is_scaled_and_nothing_else():
    found, outer = at_outer_scale(WARM, 3.0), WARM.outer
    rates = {name: 3 * getattr(outer, name) for name in ("lr_images", "lr_texts", "lr_similarity", "lr_inner_lr")}
    assert found.outer == replace(outer, **rates)
    assert found.features_first == replace(WARM.features_first, lr_features=3 * WARM.features_first.lr_features)
    assert found.mixture.lr_weights == 3 * WARM.mixture.lr_weights
    same = replace(found, outer=outer, features_first=WARM.features_first, mixture=WARM.mixture)
    assert same == WARM and at_outer_scale(WARM, 1.0) is WARM


def test_a_trial_is_the_first_phase_cut_short_and_never_validated_on_the_way():
    short = trial_loop(LOOP, 7)
    assert short.phases == (replace(LOOP.phases[0], outer_steps=7),)
    assert (short.validate_every, short.patience) == (0, 0)
    assert trial_loop(LOOP, 99).phases == (LOOP.phases[0],), "none is longer than the phase"


def test_a_trial_with_a_warm_start_has_its_steps_on_features_and_one_on_pixels():
    short = trial_loop(WARM, 7)
    assert short.features_first == replace(WARM.features_first, steps=7) and short.phases[0].outer_steps == 1
    assert trial_loop(WARM, 99).features_first == WARM.features_first


def test_the_budget_is_the_same_for_all():
    assert RateTrialsConfig().count() == 0
    assert RateTrialsConfig(steps=9).count() == 5 and RateTrialsConfig(steps=9).count(1) == 3
    with pytest.raises(ConfigError, match="rate_trials.steps is -1"):
        RateTrialsConfig(steps=-1)
    with pytest.raises(ConfigError, match="rate_trials.scales are .*; each must be above 0"):
        RateTrialsConfig(scales=(0.0,))
