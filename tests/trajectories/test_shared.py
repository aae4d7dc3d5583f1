"""A shared folder takes the same teachers again, and no others."""

import pytest

from pairstill.errors import ConfigError
from pairstill.trajectories.shared import claim_folder

TEACHERS = {"data": "abc", "settings": {"seed": 0, "rates": (0.1, 0.2)}}


def test_the_same_teachers_are_taken_again(tmp_path):
    folder = tmp_path / "teachers"
    claim_folder(folder, TEACHERS, (6, 8))
    claim_folder(folder, TEACHERS, (6, 8))
    claim_folder(folder, TEACHERS, [8])


def test_others_are_refused(tmp_path):
    claim_folder(tmp_path, TEACHERS, (6,))
    with pytest.raises(ConfigError, match="holds other teachers .*settings differ"):
        claim_folder(tmp_path, {**TEACHERS, "settings": {"seed": 1}}, (6,))
    with pytest.raises(ConfigError, match=r"holds the snapshots \[6\] .*, but \[6, 8\] are needed"):
        claim_folder(tmp_path, TEACHERS, (6, 8))
