import json
import shutil

import pytest

from pairstill.cli import main
from pairstill.distilled import DistilledSet
from pairstill.storage import read_json_lines

VARIANTS = ["distilled", "random", "identity_wbce", "identity_infonce"]
AUGMENTED = ["augmented", "random_augmented"]


@pytest.mark.parametrize(("mode", "variants"), [("trainable", [*VARIANTS, *AUGMENTED]), ("frozen", VARIANTS)])
def test_students_without_each_part_are_measured_once(undisturbed, results, steps, capsys, tmp_path, mode, variants):
    folder = tmp_path / "run"
    shutil.copytree(undisturbed[mode], folder)
    before = results(folder)
    assert main(["shares", str(folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found["variants"]) == variants and found["protocol"] == "strict"
    for name, method in (("distilled", "ptm_st"), ("random", "random")):
        means = [r["mean_recall"] for r in results(folder) if r["method"] == method]
        assert found["variants"][name]["mean"] == pytest.approx(sum(means) / 2), "as the evaluation measures them"
    assert len({variant["mean"] for variant in found["variants"].values()}) > 2
    gain = found["variants"]["distilled"]["mean"] - found["variants"]["random"]["mean"]
    assert found["shares"]["gain"]["recall"]["value"] == pytest.approx(gain)
    assert results(folder) == before, "the run's own results stay as they are"
    first, own = read_json_lines(folder / "shares.jsonl")[0], next(r for r in before if r["method"] == "ptm_st")
    assert own.keys() <= first.keys()
    for name in ("mean_recall", "image_to_text_r5", "seeds", "pairs", "test_data", "encoders", "num_pairs", "epoch"):
        assert first[name] == own[name], "as a result says it"

    assert steps
    steps.clear()
    assert main(["shares", str(folder)]) == 0
    assert steps == []
    shown = capsys.readouterr().out
    assert "Gain over Random at equal bytes" in shown
    assert ("tower is frozen" in shown) is (mode == "frozen")

    if mode == "frozen":
        other = DistilledSet.load(folder / "distilled")
        for phase in other.phases:
            phase.images.neg_()
        other.save(folder / "distilled")
        assert main(["shares", str(folder), "--json"]) == 0
        lines = read_json_lines(folder / "shares.jsonl")
        again = [line["method"] for line in lines[2 * len(variants) :]]
        assert set(again) == set(variants) - {"random"}, "what other pairs gave does not count"
        assert len({line["ranks"] for line in lines}) == len(lines)
