"""What counts as measured."""

import json
from pathlib import Path

from pairstill.config import EvaluateConfig, RunConfig, StudentConfig
from pairstill.evaluate.measurement import measured_as
from pairstill.reproduce.rows import Row
from pairstill.reproduce.run import results_of


def test_results_count_that_were_measured_as_the_settings_say_now(tmp_path):
    config = RunConfig(student=StudentConfig(epochs=7), evaluate=EvaluateConfig(protocol="both"))
    settings = tmp_path / "row.yaml"
    settings.write_text("")
    rows = [Row(name, f"rows/{name}", settings, lambda loaded: loaded, "teachers") for name in ("one", "two", "none")]

    def result(seed, protocol, measured):
        about = {"method": "ptm_st", "protocol": protocol, "seeds": {"run": seed}}
        return about | {"measured_as": measured_as(measured, "ptm_st", protocol)}

    now = [result(seed, protocol, config) for seed in (0, 1) for protocol in ("strict", "paper")]
    before = result(0, "strict", RunConfig())
    for name, seed, lines in [("one", 0, [before, *now[:2]]), ("one", 1, now[2:]), ("two", 0, [before])]:
        folder = Path(tmp_path / "rows" / name / f"seed{seed}")
        folder.mkdir(parents=True)
        (folder / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert results_of(rows, tmp_path, lambda arguments: config) == {"one": now, "two": []}
