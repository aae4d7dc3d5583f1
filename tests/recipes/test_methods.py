"""Every method, end to end, on a tiny run."""

import json
from pathlib import Path
from statistics import mean

import pytest
import yaml

from pairstill.cli import main
from pairstill.config import ImageConfig, ProjectorConfig
from pairstill.distilled import DistilledSet
from pairstill.encoders.image import build_image_encoder
from pairstill.methods import METHODS
from pairstill.storage import save_tensors

TINY = yaml.safe_load((Path(__file__).parent / "tiny.yaml").read_text())
SHORT = ["--evaluate.num_students=1", "--evaluate.methods=[random, distilled]", "--teacher.keep=all"]
LEARNED = [method for method in METHODS if method.rule is None]
CORESETS = [method for method in METHODS if method.rule is not None]


@pytest.fixture(scope="module")
def teachers(tmp_path_factory):
    return tmp_path_factory.mktemp("teachers")


def results(folder):
    return {r["method"]: r for r in map(json.loads, (folder / "results.jsonl").read_text().splitlines())}


@pytest.mark.parametrize("method", LEARNED, ids=lambda method: method.name)
def test_methods_that_learn(do, tmp_path, teachers, options_of, method):
    options = [*options_of["frozen"], f"--method={method.name}", f"--trajectories_dir={teachers}"]
    folder = do("run", tmp_path / "run", *SHORT, *options)
    distilled = DistilledSet.load(folder / "distilled")
    assert distilled.provenance["method"] == method.name
    assert distilled.num_pairs == 10
    assert results(folder)[method.name]["bytes"] == distilled.storage_bytes
    assert not (folder / "trajectories").exists()
    read = 0 if "trajectories" not in method.needs else 1 if method.name == "ncfm" else 2
    assert len(list(teachers.glob("expert_*"))) >= read
    events = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert any(event["event"] == "distill_step" for event in events)
    # pairs that come without rates have them chosen
    assert bool(results(folder)[method.name]["settings"]) == (method.name in ("ncfm", "apm"))


@pytest.mark.parametrize("method", LEARNED, ids=lambda method: method.name)
def test_methods_lower_their_own_loss(do, events, tmp_path, teachers, options_of, method):
    phase = "[{num_pairs: 6, outer_steps: 16, range_start: 0, range_end: 0, endpoint: 3}]"
    # from the first epoch to the last: every step has the same to match, of every method
    steps = (f"--distill.phases={phase}", "--distill.matching_span=3", "--distill.trajectories_per_step=2")
    if method.name in ("ncfm", "apm"):
        steps = ("--distill.num_pairs=6", "--distill.outer_steps=16")
    own = (f"--method={method.name}", f"--trajectories_dir={teachers}", "--teacher.keep=all")
    folder = do("distill", tmp_path / "run", *options_of["frozen"], *own, *steps, "--distill.validate_every=0")
    first_stage = [sum(event["losses"].values()) for event in events(folder, "distill_step")][:16]
    assert mean(first_stage[-4:]) < 0.9 * mean(first_stage[:4])


@pytest.mark.parametrize("kind", ["linear", "residual"])
def test_blending_behind_linear_heads_is_done_but_said_to_be_of_no_use(do, tmp_path, options_of, capsys, kind):
    phase = "[{num_pairs: 4, outer_steps: 1, range_start: 0, range_end: 0, endpoint: 1}]"
    options = ("--method=repblend", f"--heads.kind={kind}", f"--distill.phases={phase}", "--distill.validate_every=0")
    do("distill", tmp_path / "run", *options_of["frozen"], *options, "--teacher.epochs=1")
    told = capsys.readouterr().err
    assert ("set heads.kind to residual" in told) == (kind == "linear")


@pytest.mark.parametrize("method", CORESETS, ids=lambda method: method.name)
def test_coresets(do, tmp_path, teachers, options_of, method):
    options = [*options_of["frozen"], f"--method={method.name}", f"--trajectories_dir={teachers}"]
    folder = do("select", tmp_path / "run", *SHORT, *options)
    selected = DistilledSet.load(folder / "distilled")
    assert selected.num_pairs == 10 and selected.loss == "infonce"
    assert len({source for phase in selected.phases for source in phase.sources}) == 10
    do("evaluate", folder, *SHORT, *options)
    row = results(folder)["random_selected" if method.name == "random" else method.name]
    assert row["settings"].keys() == {"lr_image", "lr_text"} and row["num_pairs"] == 10
    assert do("run", folder, *SHORT, *options) == folder


@pytest.mark.parametrize("method", ["herding", "k_center", "forgetting", "ncfm"])
def test_methods_that_read_one_teacher_train_no_other(do, events, tmp_path, options_of, method):
    stage = "distill" if method == "ncfm" else "select"
    folder = do(stage, tmp_path / "run", *options_of["frozen"], "--teacher.keep=all", f"--method={method}")
    assert [path.name for path in (folder / "trajectories").glob("expert_*")] == ["expert_0000.safetensors"]
    assert len(events(folder, "teacher_epoch")) == TINY["teacher"]["epochs"]


def test_forgetting_is_not_counted_over_a_few_epochs_alone(tiny, tmp_path, capsys):
    assert main(tiny("select", tmp_path / "run", "--method=forgetting", "--teacher.keep=endpoints")) == 2
    assert "method forgetting counts from each epoch" in capsys.readouterr().err


def test_commands_that_do_not_go_with_a_method_say_which_do(tiny, tmp_path, capsys):
    assert main(tiny("distill", tmp_path / "run", "--method=herding")) == 2
    assert "method herding chooses real pairs; use `pairstill select`" in capsys.readouterr().err
    assert main(tiny("select", tmp_path / "run", "--method=lors")) == 2
    assert "method lors learns its pairs; use `pairstill distill`" in capsys.readouterr().err


def test_other_teachers_are_not_taken_for_these(tiny, tmp_path, capsys):
    shared = f"--trajectories_dir={tmp_path / 'teachers'}"
    assert main(tiny("teach", tmp_path / "one", shared)) == 0
    assert main(tiny("teach", tmp_path / "two", shared)) == 0
    assert main(tiny("teach", tmp_path / "three", shared, "--teacher.lr_text=0.2")) == 2
    assert "holds other teachers than these settings train" in capsys.readouterr().err
    assert main(tiny("teach", tmp_path / "four", shared, "--teacher.keep=all")) == 2


def test_methods_are_listed(capsys):
    assert main(["methods", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [entry["name"] for entry in listed] == [method.name for method in METHODS]
    assert main(["methods"]) == 0
    assert "RepBlend" in capsys.readouterr().out


def test_a_benchmark_is_reproduced_row_by_row(tmp_path, capsys, monkeypatch):
    configs = tmp_path / "configs" / "flickr8k"
    configs.mkdir(parents=True)
    settings = {**TINY, "image": {"size": 16, "trainable": False}, "heads": {"image": True, "width": 8}}
    settings["teacher"] = {**TINY["teacher"], "keep": "all"}
    settings["evaluate"] = {**TINY["evaluate"], "num_students": 1}
    (configs / "frozen_100.yaml").write_text(yaml.safe_dump(settings))
    weights = tmp_path / "weights.safetensors"
    save_tensors(weights, build_image_encoder(ImageConfig(size=16)).tower.state_dict())
    command = ["reproduce", "flickr8k", str(tmp_path), str(weights)]
    command += [f"--out={tmp_path / 'out'}", f"--configs={tmp_path / 'configs'}", f"--cache_dir={tmp_path / 'cache'}"]
    command += ["--threads=1", "--device=cpu"]
    rows = '--only=["frozen_100/references", "frozen_100/herding", "frozen_100/ptm_st"]'
    assert main([*command, rows]) == 0
    page = capsys.readouterr().out
    assert all(title in page for title in ("Random", "Herding", "PTM-ST", "Full data"))
    out = tmp_path / "out" / "flickr8k"
    first = (out / "results.jsonl").read_bytes()
    assert len(first.splitlines()) == 4
    assert main([*command, rows]) == 0
    assert (out / "results.jsonl").read_bytes() == first
    assert main([*command, '--only=["frozen_100/magic"]']) == 2
    assert "the rows are frozen_100/references" in capsys.readouterr().err
    assert main([*command, '--only=["frozen_200/lors"]']) == 2
    assert "frozen_200.yaml does not exist" in capsys.readouterr().err


def test_apm_is_watched_and_measured_by_the_student_that_it_is_made_for(do, tmp_path, options_of):
    heads = ["--heads.kind=linear", "--heads.width=16"]
    rows = "--evaluate.methods=[distilled, closed_form]"
    options = [*options_of["frozen"], *heads, "--method=apm", rows, "--evaluate.num_students=2"]
    folder = do("run", tmp_path / "run", *options)
    lines = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    assert [line["method"] for line in lines] == ["apm", "apm", "apm_closed_form"]
    assert lines[2]["settings"]["ridge"] in ProjectorConfig().ridges and lines[2]["epoch"] == 0
    events = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    watched = [event["validation_mean_recall"] for event in events if event["event"] == "validation"]
    # the last validation saw the pairs that were kept
    assert round(watched[-1], 4) == lines[2]["validation_mean_recall"]
    assert "APM, closed form" in (folder / "results.md").read_text()


def test_the_student_in_closed_form_is_reported_and_goes_downstream_by_itself(do, tiny, tmp_path, options_of, capsys):
    options = [*options_of["frozen"], "--heads.kind=linear", "--heads.width=16", "--evaluate.methods=[closed_form]"]
    folder = do("run", tmp_path / "run", *options)
    assert main(["report", str(folder), "--out", str(tmp_path / "report.html"), "--retrieval", "false"]) == 0
    assert "Finished." in (tmp_path / "report.html").read_text()
    task = ["--zeroshot.source=captions", "--zeroshot.classes=[circle|disc, square|box, triangle]"]
    command = ["downstream", "zeroshot", *tiny("", folder, *options, *task)[1:]]
    assert main(command) == 0
    lines = [json.loads(line) for line in (folder / "downstream.jsonl").read_text().splitlines()]
    assert [(line["method"], line["seeds"]["student"]) for line in lines] == [("ptm_st_closed_form", 0)]
    other = DistilledSet.load(folder / "distilled")
    other.phases[0].text_embeddings.neg_()
    other.save(folder / "distilled")
    assert main(command) == 0
    assert len((folder / "downstream.jsonl").read_text().splitlines()) == 2, "other pairs, another student"
