"""Pairs for several image towers at once, through the command line."""

import json

import pytest
import torch

from pairstill.cli import main
from pairstill.config import RunConfig
from pairstill.distilled import DistilledSet
from pairstill.exchange.folder import open_set
from pairstill.storage import load_tensors
from pairstill.tools.plan import make_plan

SECOND = "[{name: nf_resnet_tiny, init_seed: 1, size: 12}]"
FIRST = "--distill.features_first={steps: 3, inversion_steps: 2}"


@pytest.fixture(scope="module")
def options(options_of):
    """The options of a tiny run for two towers, with a warm start."""
    return (*options_of["frozen"], "--towers", SECOND, FIRST, "--evaluate.num_students", "1")


@pytest.fixture(scope="module")
def whole(do, options, tmp_path_factory):
    """A finished run that nothing disturbed; tests only read it."""
    return do("run", tmp_path_factory.mktemp("towers") / "whole", *options)


def test_a_set_for_two_towers_has_common_pixels_and_the_rates_of_each(whole):
    made = DistilledSet.load(whole / "distilled")
    assert [tower["size"] for tower in made.towers] == [16, 12]
    assert (made.image_encoder["size"], made.image_encoder["mean"]) == (16, [0.0] * 3)
    for phase in made.phases:
        assert phase.images.shape[1:] == (3, 16, 16) and len(phase.tower_rates) == 2
        first, second = phase.tower_rates
        assert phase.inner_lr_image == pytest.approx((first.image * second.image) ** 0.5) and first != second
        assert 0 < float(phase.images.mean()) < 1, "pixels of photos, moved a little"
    again = made.of_tower(1)
    assert again.phases[0].images.shape[1:] == (3, 12, 12) and again.image_encoder["size"] == 12
    assert again.phases[0].inner_lr_image == made.phases[0].tower_rates[1].image
    learned = load_tensors(whole / "distillation" / "phase1.safetensors")
    assert {"images", "inner_lr_image/1", "inner_lr_text/2"} < learned.keys()


def test_every_tower_has_rows_of_its_own_and_full_data_of_its_own(whole, results):
    lines = results(whole)
    for number in (1, 2):
        own = [line for line in lines if line["tower"] == f"nf_resnet_tiny ({number})"]
        assert {line["method"] for line in own} == {"random", "ptm_st", "full"}
    assert len({line["encoders"] for line in lines}) == 2 and len(lines) == 6
    table = (whole / "results.md").read_text()
    assert "| PTM-ST, features first, nf_resnet_tiny (1) | 10 |" in table
    assert "| Full data, nf_resnet_tiny (2) |" in table
    assert table.count("100 %") == 2


@pytest.mark.parametrize(("stage", "phase", "step"), [("features", 1, 2), ("pixels", 1, 4), ("pixels", 2, 1)])
def test_an_interrupted_run_goes_on_to_the_same_bits(
    tiny, do, options, whole, same_set, interrupt, tmp_path, stage, phase, step
):
    interrupt(event="distill_step", stage=stage, phase=phase, step=step)
    assert main(tiny("distill", tmp_path / "run", *options)) == 130
    interrupt()
    assert same_set(do("distill", tmp_path / "run", *options), whole)


def test_teachers_behind_each_tower_are_apart_and_found_by_their_content(do, options, whole, events, tmp_path):
    assert {event["tower"] for event in events(whole, "teacher_epoch")} == {"nf_resnet_tiny (1)", "nf_resnet_tiny (2)"}
    for folder in ("trajectories", "trajectories_tower2"):
        assert len(list((whole / folder).glob("expert_*"))) == 2
    shared = (*options, "--reuse", "true", "--cache_dir", str(tmp_path / "cache"))
    do("teach", tmp_path / "first", *shared)
    do("teach", tmp_path / "second", *shared)
    assert events(tmp_path / "second", "teacher_epoch") == []
    places = [json.loads((tmp_path / "second" / f"teachers{end}.json").read_text()) for end in ("", "_tower2")]
    assert places[0]["trajectories"] != places[1]["trajectories"]


def test_segments_are_logged_with_their_tower(whole, events):
    steps = [event for event in events(whole, "distill_step") if (event["stage"], event["phase"]) == ("pixels", 1)]
    towers = [tower for step in steps for tower in step["towers"]]
    assert towers == [number % 2 for number in range(len(towers))]
    assert {"inner_lr_image/1", "inner_lr_text/2"} < steps[0].keys()


def test_a_finished_run_is_not_measured_again_and_another_set_of_towers_is_refused(tiny, do, options, whole, capsys):
    before = (whole / "results.jsonl").read_bytes()
    do("run", whole, *options)
    assert (whole / "results.jsonl").read_bytes() == before
    assert main(tiny("run", whole, *options, "--towers", "[]")) == 2
    assert "towers" in capsys.readouterr().err


def test_an_unseen_tower_takes_the_mean_rates_and_an_own_one_its_own(do, tiny, options, whole, tmp_path, capsys):
    do(
        "evaluate",
        whole,
        *options,
        "--image_encoder",
        "nf_resnet_tiny,init_seed=2",
        "--image_encoder",
        "nf_resnet_tiny",
        "--evaluate.rate_scales",
        "[0.1]",
    )
    cells = [json.loads(line) for line in (whole / "cross.jsonl").read_text().splitlines()]
    assert [cell["own_images"] for cell in cells] == [False, True]
    assert cells[0]["rates_tried"] > 1 and cells[1]["rates_tried"] == 1
    own = [json.loads(line) for line in (whole / "results.jsonl").read_text().splitlines()]
    (first,) = (line for line in own if (line["method"], line["tower"]) == ("ptm_st", "nf_resnet_tiny (1)"))
    assert cells[1]["mean_recall"] == first["mean_recall"]


def test_an_export_gives_back_the_set_and_its_card_names_the_towers(do, tiny, whole, tmp_path):
    out = tmp_path / "out"
    assert main(["export", str(whole), "--format", "imagefolder", "--out", str(out), "--measure", "never"]) == 0
    made, found = DistilledSet.load(whole / "distilled"), open_set(out)
    assert found.description() == made.description()
    assert all(torch.equal(a.images, b.images) for a, b in zip(made.phases, found.phases, strict=True))
    card = (out / "README.md").read_text()
    assert card.count("- Image tower: nf_resnet_tiny") == 2 and "[0, 1]" in card


def test_the_page_shows_both_towers(whole, tmp_path):
    out = tmp_path / "page.html"
    assert main(["report", str(whole), "--out", str(out)]) == 0
    page = out.read_text()
    for part in ("Mean recall, nf_resnet_tiny (2)", "behind nf_resnet_tiny (1)", "images, tower 2"):
        assert part in page


def test_a_plan_counts_the_teachers_and_students_of_both(whole):
    from pairstill.cli.command import settings_from

    config = settings_from(["--config", str(whole / "config.yaml")])
    assert isinstance(config, RunConfig)
    plan = make_plan(config)
    (teach,) = (stage for stage in plan.stages if stage.name == "teach")
    assert teach.detail == "4 of 4 teachers found" and teach.seconds == 0
    assert all(stage.seconds > 0 for stage in plan.stages if stage.name != "teach")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--image.trainable", "true"), "towers names 1 more, but the image tower is trained"),
        (("--method", "apm"), "makes pairs for one image tower"),
        (("--towers", "[{name: nf_resnet_tiny, size: 16}]"), "the same image tower twice"),
    ],
)
def test_what_does_not_go_with_several_towers_is_refused(tiny, options, tmp_path, capsys, more, message):
    assert main(tiny("distill", tmp_path / "run", *options, *more)) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        "shares {run}",
        "compare {run} {run} --out {out}",
        "downstream zeroshot --zeroshot.source captions --zeroshot.classes [dog,cat] --config {run}/config.yaml",
        "student {run} --out {out}",
        "search {run} dog",
    ],
)
def test_commands_for_one_tower_say_so(whole, tmp_path, capsys, command):
    assert main(command.format(run=whole, out=tmp_path / "out").split()) == 2
    assert "knows pairs for one image tower" in capsys.readouterr().err


def test_photos_are_kept_for_two_towers_at_once(do, options_of, results, tmp_path):
    more = ("--method", "ptm_st_kept", "--evaluate.methods", "[distilled]", "--evaluate.num_students", "1")
    run = do("run", tmp_path / "run", *options_of["frozen"], "--towers", SECOND, *more)
    made = DistilledSet.load(run / "distilled")
    assert all(len(phase.tower_rates) == 2 and len(phase.photos) == phase.num_pairs for phase in made.phases)
    assert {line["tower"] for line in results(run)} == {"nf_resnet_tiny (1)", "nf_resnet_tiny (2)"}
