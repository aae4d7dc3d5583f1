"""What must stay while the code is rebuilt; `facts.py` says how it is recorded anew where it was meant to change."""

import importlib.util
import json
import shutil
from pathlib import Path

import pytest

from pairstill.cli import main
from pairstill.storage import load_tensors

HERE = Path(__file__).parent
_SPEC = importlib.util.spec_from_file_location("golden_facts", HERE / "facts.py")
assert _SPEC is not None and _SPEC.loader is not None
facts = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(facts)


def recorded(name):
    return json.loads((HERE / f"{name}.json").read_text())


@pytest.mark.parametrize("name", facts.FACTS)
def test_settings_keys_and_options_are_as_recorded(name):
    before, now = recorded(name), facts.FACTS[name]()
    assert {key for key in before.keys() | now.keys() if before.get(key) != now.get(key)} == set()


def test_every_method_learns_what_it_learned():
    before, now = recorded("learned"), facts.learned(bits=False)
    assert before.keys() == now.keys()
    for method, tensors in before.items():
        assert tensors.keys() == now[method].keys(), method
        for name, (shape, *sums) in tensors.items():
            assert now[method][name][0] == shape
            assert now[method][name][1:] == pytest.approx(sums, rel=2e-3, abs=2e-3), (method, name)


SUMS = {
    "phase1/images": (-1329.91, 39.7224),
    "phase1/similarity/matrix": (6.1143, 2.4593),
    "phase1/text_embeddings": (0.225914, 9.80413),
    "phase2/images": (275.359, 28.8795),
    "phase2/similarity/matrix": (4.05799, 2.00728),
    "phase2/text_embeddings": (-6.28299, 7.99829),
}
"""What the commit that wrote `older/run` would have gone on to: sum and norm of each tensor."""


def test_a_run_that_an_older_version_began_goes_on_to_the_same_pairs(tmp_path):
    run = tmp_path / "run"
    shutil.copytree(HERE / "older" / "run", run)
    assert (
        main(["distill", "--config", str(run / "config.yaml"), "--run_dir", str(run), f"--cache_dir={tmp_path}"]) == 0
    )
    steps = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines() if "distill_step" in line]
    assert [(step["phase"], step["step"]) for step in steps] == [
        (1, 1),
        (1, 2),
        (1, 3),
        (1, 4),
        (1, 5),
        (2, 1),
        (2, 2),
        (2, 3),
    ]
    found = load_tensors(run / "distilled" / "distilled.safetensors")
    assert found.keys() == SUMS.keys()
    for name, value in found.items():
        sums = [float(value.double().sum()), float(value.double().square().sum().sqrt())]
        assert sums == pytest.approx(SUMS[name], rel=1e-3, abs=1e-3), name
