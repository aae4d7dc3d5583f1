from types import SimpleNamespace

import pytest
import torch

from pairstill.config import CrossConfig
from pairstill.errors import ConfigError
from pairstill.evaluate import crossing as module
from pairstill.evaluate.crossing import best_crossed
from pairstill.evaluate.protocol import Candidate
from pairstill.evaluate.student import StudentPhase

PHASES = [StudentPhase(torch.zeros(1), torch.zeros(1), None, 0.5, 0.2), StudentPhase(*[torch.zeros(1)] * 3, 0.4, 0.1)]
RECALLS = {(1, 1): 10.0, (0.1, 1): 8.0, (3, 1): 20.0, (3, 0.1): 20.0, (3, 3): 25.0, (1, 0.1): 30.0, (1, 3): 9.0}
"""By the scales of the image and the text side; the best pair of all, (1, 0.1), is off the way of (3, ...)."""


@pytest.fixture
def choose(monkeypatch):
    """Choose among students whose recall is told by their scales, and return the choice with what was tried."""

    def run(*foreign, scales=(0.1, 1.0, 3.0)):
        tried = []

        def train(factory, model, phases, loss, config, *seed, batch_size):
            rates = [(phase.lr_image, phase.lr_text) for phase in phases]
            scale = (rates[0][0] / 0.5, rates[0][1] / 0.2)
            assert rates[1] == pytest.approx((0.4 * scale[0], 0.1 * scale[1]))
            assert (loss, seed, batch_size) == ("wbce", (7, "student", 2), 5)
            tried.append(tuple(round(x, 6) for x in scale))
            return RECALLS[tried[-1]]

        def best(model, recall, choosers, settings):
            assert choosers == {"strict": "val"}
            return {"strict": Candidate({}, recall, 1, settings, seconds=2.0)}

        monkeypatch.setattr(module, "train_student", train)
        monkeypatch.setattr(module, "best_epochs", best)
        monkeypatch.setattr(module, "student_phases", lambda *_: PHASES)
        bench = SimpleNamespace(
            factory=SimpleNamespace(device=None, build=lambda: None),
            tower=None,
            student=None,
            seed=7,
            splits=SimpleNamespace(val="val"),  # a test split is not even there
            evaluate=SimpleNamespace(cross=CrossConfig(rate_scales=scales)),
        )
        found = best_crossed(bench, SimpleNamespace(loss="wbce", phases=None), 2, foreign, 5)
        assert found.seconds == 2.0 * len(tried)
        return (found.settings["scale_image"], found.settings["scale_text"]), tried

    return run


def test_the_pairs_own_encoders_keep_the_learned_rates(choose):
    assert choose() == ((1.0, 1.0), [(1, 1)])


def test_a_foreign_side_chooses_its_rates_alone(choose):
    assert choose("image") == ((3.0, 1.0), [(1, 1), (0.1, 1), (3, 1)])
    assert choose("text") == ((1.0, 0.1), [(1, 1), (1, 0.1), (1, 3)])


def test_two_foreign_sides_choose_one_after_the_other(choose):
    best, tried = choose("image", "text")
    assert best == (3.0, 3.0) and tried == [(1, 1), (0.1, 1), (3, 1), (3, 0.1), (3, 3)]


def test_the_learned_rates_are_tried_even_where_they_are_not_in_the_list(choose):
    assert choose("image", scales=(0.1,)) == ((1.0, 1.0), [(1, 1), (0.1, 1)])


def test_scales_and_strength_must_be_above_zero():
    with pytest.raises(ConfigError, match="rate_scales must all be above 0"):
        CrossConfig(rate_scales=(0.0,))
    with pytest.raises(ConfigError, match="ridge is 0"):
        CrossConfig(ridge=0.0)
