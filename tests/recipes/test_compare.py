import json

from pairstill.cli import main


def test_two_runs_side_by_side_from_the_command_line(do, undisturbed, capsys, tmp_path):
    whole = undisturbed["trainable"]
    chosen = do("run", tmp_path / "chosen", "--method", "random", "--evaluate.methods", "[distilled]")
    capsys.readouterr()
    assert main(["compare", str(whole), str(chosen), "--out", str(tmp_path / "out"), "--resamples", "100"]) == 0
    shown = capsys.readouterr().out
    assert (
        "Random, one draw" in shown and "over distillations" in shown and "100 resamples" in shown and "are in" in shown
    )
    assert {f.name for f in (tmp_path / "out").iterdir()} == {
        *("comparison.md", "comparison.json"),
        *(f"{name}.{kind}" for name in ("curves", "recall_by_bytes") for kind in ("png", "svg", "csv")),
    }
    assert main(["compare", str(whole), str(chosen), "--json", "--resamples", "100"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads((tmp_path / "out" / "comparison.json").read_text()), "the same draws every time"
    assert [(d["first"], d["second"]) for d in found["differences"]] == [
        ("PTM-ST", "Random, one draw"),
        ("PTM-ST", "Random, 11 pairs"),
    ]
    for difference in found["differences"]:
        assert difference["recall"]["low"] <= difference["recall"]["value"] <= difference["recall"]["high"]


def test_what_is_no_run_is_refused(capsys, tmp_path):
    assert main(["compare", str(tmp_path)]) == 1
    assert "is no run" in capsys.readouterr().err
