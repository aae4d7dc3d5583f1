"""Trials of rates as files."""

import json

import pytest

from pairstill.core.errors import ArtifactError
from pairstill.evaluate.rates import RateChoice, Scales, Trial
from pairstill.run.rates import stored_trials


def test_trials_are_read_as_they_were_written_and_no_file_has_none(tmp_path):
    trials = (Trial(Scales(), 31.0 / 3), Trial(Scales(image=3.0), None))
    path = tmp_path / "rates.json"
    assert stored_trials(path, Scales) == []
    path.write_text(json.dumps(RateChoice(Scales(), trials).to_json()))
    assert stored_trials(path, Scales) == list(trials)


@pytest.mark.parametrize(
    "trials",
    [
        3,
        ["a"],
        [{"image": 1.0, "text": 1.0}],
        [{"image": 1.0, "outer": 1.0, "validation_mean_recall": 1.0}],
        [{"image": "x", "text": 1.0, "validation_mean_recall": 1.0}],
        [{"image": 1.0, "text": 1.0, "validation_mean_recall": "good"}],
    ],
)
def test_a_damaged_file_says_what_to_do(tmp_path, trials):
    path = tmp_path / "rates.json"
    path.write_text(json.dumps({"trials": trials}))
    with pytest.raises(ArtifactError, match="is damaged; delete it, and the rates are chosen anew"):
        stored_trials(path, Scales)
