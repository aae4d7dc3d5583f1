"""Real kills at random moments: the short version of what `benchmarks/stress` records."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

STRESS = Path(__file__).parents[2] / "benchmarks" / "stress"


@pytest.mark.skipif(not STRESS.is_dir(), reason="benchmarks are in the repository, not in the package")
def test_killed_runs_end_with_the_bytes_of_one_that_nothing_disturbed(tmp_path):
    command = [
        sys.executable,
        str(STRESS / "kill.py"),
        "--kills=2",
        "--cases",
        "features_first",
        "--out",
        str(tmp_path / "k"),
    ]
    found = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=600
    )
    assert found.returncode == 0, found.stdout + found.stderr
    report = json.loads(found.stdout.splitlines()[-1])
    assert report["kills"] == 2 and report["wrong"] == []


def test_the_same_seed_gives_the_same_set_and_another_seed_another(do, options_of, undisturbed, same_set, tmp_path):
    options = options_of["frozen"]
    assert same_set(do("distill", tmp_path / "same", *options, "--reuse=false"), undisturbed["frozen"])
    assert not same_set(do("distill", tmp_path / "other", *options, "--seed=1"), undisturbed["frozen"])
