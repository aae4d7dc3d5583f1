import json
import math
import shutil
from collections import Counter
from dataclasses import asdict
from types import SimpleNamespace

import pytest
import yaml

from pairstill.cli import main, quickstart
from pairstill.cli.command import settings_from
from pairstill.config import ImageConfig, PhaseConfig, RunConfig, TrajectoryConfig
from pairstill.distilled import DistilledSet, stored_pairs
from pairstill.encoders.image import build_image_encoder
from pairstill.evaluate.protocol import Evaluator
from pairstill.evaluate.stored import StoredRanks
from pairstill.run.evaluate import budget
from pairstill.storage import load_tensors, read_sealed, save_tensors
from pairstill.storage.checksums import SEAL

MODES = ["trainable", "frozen"]


def content(folder):
    """Every file of a folder but the lock, which says who was last in it, by its name."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.parametrize("mode", MODES)
def test_a_run_leaves_everything_that_it_promises(undisturbed, events, results, mode):
    folder = undisturbed[mode]
    assert {path.name for path in folder.iterdir()} == {
        *("config.yaml", "given.yaml", "environment.json", "data.json", "metrics.jsonl", "seconds.json"),
        *("trajectories", "distillation", "distilled", "results.jsonl", "results.md", "ranks", ".lock"),
    }
    settings = yaml.safe_load((folder / "config.yaml").read_text())
    assert settings["image"]["trainable"] is (mode == "trainable")
    assert settings["distill"]["outer"]["optimizer"] == "adam", "the file holds defaults too"
    data = json.loads((folder / "data.json").read_text())
    assert data["images"] == {"train": 24, "val": 12, "test": 12} and data["dropped"] == []
    assert data["captions"] == {"train": 120, "val": 60, "test": 60}

    assert Counter(event["event"] for event in events(folder)) == {
        "sitting": 1,
        "stage_began": 4,
        "stage": 4,
        "teacher_epoch": 2 * 3,
        "hypergradient": 2,
        "distill_step": 5 + 3,
        "validation": 2 + 1,
        "student": 3 * 2,
    }
    assert [(e["expert"], e["epoch"]) for e in events(folder, "teacher_epoch")] == [
        *((0, 1), (0, 2), (0, 3)),
        *((1, 1), (1, 2), (1, 3)),
    ]
    assert [(e["phase"], e["step"]) for e in events(folder, "validation")] == [(1, 3), (1, 5), (2, 3)]
    assert [(r["method"], r["seeds"]["student"]) for r in results(folder)] == [
        *(("random", 0), ("random", 1)),
        *(("ptm_st", 0), ("ptm_st", 1)),
        *(("full", 0), ("full", 1)),
    ]
    assert {r["protocol"] for r in results(folder)} == {"strict"}
    assert {(r["method"], *r["seeds"].values()) for r in results(folder) if r["seeds"]["student"] == 1} == {
        *(("random", 0, None, None, 1), ("ptm_st", 0, 0, 0, 1), ("full", 0, None, None, 1)),
    }
    assert {r["test_data"] for r in results(folder)} == {data["test_fingerprint"]}
    table = (folder / "results.md").read_text().splitlines()
    assert [line.split("|")[1].strip() for line in table[2:]] == ["Random", "PTM-ST", "Full data"]


@pytest.mark.parametrize("mode", MODES)
def test_the_distilled_set_names_what_it_was_made_from(undisturbed, mode):
    folder = undisturbed[mode]
    distilled = DistilledSet.load(folder / "distilled")
    assert [phase.num_pairs for phase in distilled.phases] == [6, 4]
    assert distilled.phases[0].images.shape == (6, 3, 16, 16)
    assert distilled.phases[0].text_embeddings.shape == (6, 16)
    assert distilled.image_encoder["trainable"] is (mode == "trainable")
    data, kept = distilled.provenance["data"], read_sealed(folder / "data.json")  # which has notes for the report, too
    assert {"fingerprint", "dropped"} <= set(data) and data == {name: kept[name] for name in data}
    sources = [source for phase in distilled.phases for source in phase.sources]
    assert len(set(sources)) == 10 and all(phase.captions[0] for phase in distilled.phases)


def test_each_result_holds_the_mean_of_its_recalls_and_the_validation_that_chose_it(undisturbed, results):
    for result in results(undisturbed["trainable"]):
        six = [value for key, value in result.items() if key.startswith(("text_to_image_r", "image_to_text_r"))]
        assert len(six) == 6 and result["mean_recall"] == pytest.approx(sum(six) / 6, abs=1e-3)
        assert result["validation_mean_recall"] > 0 and result["epoch"] >= 1


def test_a_frozen_and_a_trained_tower_distil_different_pairs(undisturbed, same_set):
    assert not same_set(undisturbed["trainable"], undisturbed["frozen"])


@pytest.mark.parametrize("mode", MODES)
def test_stages_one_by_one_give_the_bits_of_a_whole_run(
    do, options_of, undisturbed, same_set, same_teachers, results, tmp_path, mode
):
    # with a cache of its own, so that nothing computed for the other run is found there
    options = [*options_of[mode], "--cache_dir", str(tmp_path / "cache")]
    folder = tmp_path / "run"
    grown = []
    for stage in ("prepare", "teach", "distill", "evaluate"):
        do(stage, folder, *options)
        grown.append({path.name for path in folder.iterdir()})
    assert "data.json" in grown[0] and "trajectories" not in grown[0]
    assert "trajectories" in grown[1] and "distillation" not in grown[1]
    assert "distilled" in grown[2] and "results.jsonl" not in grown[2]
    assert same_set(folder, undisturbed[mode])
    assert same_teachers(folder, undisturbed[mode])
    assert results(folder) == results(undisturbed[mode])


def test_distilling_trains_the_teachers_that_are_missing(do, undisturbed, same_set, tmp_path):
    assert same_set(do("distill", tmp_path / "run"), undisturbed["trainable"])


def test_another_seed_gives_other_pairs(do, undisturbed, same_set, tmp_path):
    assert not same_set(do("distill", tmp_path / "run", "--seed", "1"), undisturbed["trainable"])


def test_random_pairs_get_the_storage_of_the_distilled_set(undisturbed, results):
    distilled = DistilledSet.load(undisturbed["trainable"] / "distilled")
    found = {r["method"]: (r["num_pairs"], r["bytes"]) for r in results(undisturbed["trainable"])}
    pair = 4 * (3 * 16 * 16 + 16)
    # 10 pairs and the similarities: 36 + 16 entries, and four rates, are worth less than one pair more
    assert found["random"] == (math.ceil(distilled.pairs_equivalent), 11 * pair) == (11, 11 * pair)
    assert found["ptm_st"] == (10, distilled.storage_bytes) == (10, 10 * pair + 4 * (36 + 16 + 4))
    assert found["full"] == (120, 4 * (3 * 16 * 16 * 24 + 16 * 120))


@pytest.mark.parametrize(
    ("distill", "pairs"),
    [
        (TrajectoryConfig(phases=(PhaseConfig(100),), loss="infonce"), 100),
        (TrajectoryConfig(phases=(PhaseConfig(99),)), 103),  # 99 * 99 / (3 * 32 * 32 + 128) is above 3
    ],
)
def test_rates_are_worth_no_pair(distill, pairs):
    parts = SimpleNamespace(
        config=RunConfig(distill=distill),
        pixel_space=SimpleNamespace(size=32),
        text=SimpleNamespace(spec=SimpleNamespace(width=128)),
    )
    assert budget(parts) == pairs


# the same folder again


def test_a_second_run_on_a_finished_folder_trains_nothing(do, undisturbed, events, steps, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(undisturbed["trainable"], folder)
    # the folder's own name is a setting that may differ
    before = content(folder)
    steps.clear()
    do("run", folder)
    assert steps == []
    after = content(folder)
    changed = {name for name in {*before, *after} if before.get(name) != after.get(name)}
    assert changed <= {"config.yaml", "given.yaml", "environment.json", "metrics.jsonl", "seconds.json"}
    sitting, *stages = events(folder)[len(events(undisturbed["trainable"])) :]
    assert sitting["event"] == "sitting" and {event["stage"] for event in stages} == {"prepare", "evaluate"}


def test_a_finished_run_whose_weights_are_gone_shows_its_table(do, tiny, tmp_path, capsys):
    weights = tmp_path / "tower.safetensors"
    save_tensors(weights, build_image_encoder(ImageConfig(size=16)).tower.state_dict())
    short = ("--image.weights", str(weights), "--evaluate.methods", "[distilled]", "--evaluate.num_students", "1")
    do("run", tmp_path / "run", *short)
    shown = capsys.readouterr().out
    weights.unlink()
    do("run", tmp_path / "run", *short)
    assert "PTM-ST" in shown and capsys.readouterr().out == shown
    # what is left to compute needs them
    assert main(tiny("run", tmp_path / "run", *short[:-1], "2")) == 2
    assert "tower.safetensors' which is no file" in capsys.readouterr().err.replace(",", "")


def test_settings_of_a_run_start_the_same_run(undisturbed, same_set, tmp_path):
    stored = undisturbed["trainable"] / "config.yaml"
    assert main(["distill", "--config", str(stored), "--run_dir", str(tmp_path / "again")]) == 0
    assert same_set(tmp_path / "again", undisturbed["trainable"])


def test_more_students_are_added_to_those_that_are_there(do, undisturbed, results, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(undisturbed["trainable"], folder)
    before = results(folder)
    do("evaluate", folder, "--evaluate.num_students", "3")
    after = results(folder)
    assert after[:6] == before
    assert [(r["method"], r["seeds"]["student"]) for r in after[6:]] == [("random", 2), ("ptm_st", 2), ("full", 2)]
    assert [line.split("|")[-2].strip() for line in (folder / "results.md").read_text().splitlines()[2:]] == ["3"] * 3


def test_protocols_keep_their_results_apart(do, undisturbed, results, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(undisturbed["trainable"], folder)
    strict = (folder / "results.md").read_text()
    do("evaluate", folder, "--evaluate.protocol", "paper", "--evaluate.methods", "[distilled]")
    assert [r["protocol"] for r in results(folder)] == ["strict"] * 6 + ["paper"] * 2
    best = {r["seeds"]["student"]: r["mean_recall"] for r in results(folder) if r["protocol"] == "paper"}
    for r in results(folder)[2:4]:
        assert best[r["seeds"]["student"]] >= r["mean_recall"]
    assert len((folder / "results.md").read_text().splitlines()) == 3
    do("evaluate", folder)
    without_time = [line.split("|")[:-3] for line in strict.splitlines()]
    assert [line.split("|")[:-3] for line in (folder / "results.md").read_text().splitlines()] == without_time


def test_both_protocols_give_the_results_of_each_and_add_what_is_missing(do, undisturbed, results, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(undisturbed["trainable"], folder)
    only = ("--evaluate.methods", "[distilled]")
    do("evaluate", folder, "--evaluate.protocol", "both", *only)
    found = results(folder)
    assert found[:6] == results(undisturbed["trainable"]), "what strict found stands"
    assert [(r["protocol"], r["seeds"]["student"]) for r in found[6:]] == [("paper", 0), ("paper", 1)]
    table = (folder / "results.md").read_text()
    assert [line.split("|")[3].strip() for line in table.splitlines()[2:]] == ["strict", "strict", "paper", "strict"]
    assert "optimism" in table.splitlines()[0]
    alone = tmp_path / "alone"
    shutil.copytree(undisturbed["trainable"] / "distilled", alone / "distilled")
    do("evaluate", alone, "--evaluate.protocol", "paper", *only)
    assert results(alone) == found[6:]


def test_the_ranks_of_every_student_give_its_recalls(undisturbed, results):
    folder = undisturbed["trainable"]
    assert len(list((folder / "ranks").iterdir())) == len(results(folder)) == 6
    for result in results(folder):
        stored = StoredRanks.load(folder / result["ranks"])
        for key, value in asdict(stored.ranks.recalls).items():
            assert result[key] == pytest.approx(value, abs=1e-4)
        assert stored.caption_owner.tolist() == [image for image in range(12) for _ in range(5)]


def test_a_student_without_ranks_is_measured_again_in_its_place(do, undisturbed, results, tmp_path):
    """As in runs of earlier versions."""
    folder = tmp_path / "run"
    shutil.copytree(undisturbed["trainable"], folder)
    before = results(folder)
    lines = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    for line in lines[:4]:
        del line["ranks"], line["test_data"], line[SEAL]
    (folder / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / before[5]["ranks"]).unlink()
    do("evaluate", folder)
    assert results(folder) == before
    assert all((folder / result["ranks"]).is_file() for result in before)


# seeds


def test_the_seeds_of_teachers_and_distillation_vary_by_themselves(
    do, undisturbed, same_set, same_teachers, results, tmp_path
):
    whole, only = undisturbed["trainable"], ("--evaluate.methods", "[distilled]")
    pinned = do("run", tmp_path / "p", "--seed", "5", "--seeds.teachers", "0", "--seeds.distillation", "0", *only)
    assert same_teachers(pinned, whole) and same_set(pinned, whole), "the run's seed decides the students alone"
    assert [r["mean_recall"] for r in results(pinned)] != [r["mean_recall"] for r in results(whole)[2:4]]
    assert results(pinned)[0]["seeds"] == {"run": 5, "teachers": 0, "distillation": 0, "student": 0}

    again = do("distill", tmp_path / "d", "--seeds.distillation", "1")
    assert same_teachers(again, whole) and not same_set(again, whole)
    taught = do("teach", tmp_path / "t", "--seeds.teachers", "1")
    assert not same_teachers(taught, whole)


def test_other_students_are_measured_anew_and_the_old_results_stay(do, undisturbed, results, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(undisturbed["trainable"], folder)
    before, table = results(folder), (folder / "results.md").read_text()
    do("evaluate", folder, "--student.epochs", "3", "--evaluate.methods", "[distilled]")
    after = results(folder)
    assert after[:6] == before
    assert [(r["method"], r["seeds"]["student"]) for r in after[6:]] == [("ptm_st", 0), ("ptm_st", 1)]
    shown = (folder / "results.md").read_text().splitlines()[2:]
    # full data trains no student on pairs: its rows hold
    assert [line.split("|")[1].strip() for line in shown] == ["PTM-ST", "Full data"]
    do("evaluate", folder)
    assert results(folder) == after
    assert (folder / "results.md").read_text() == table


def test_other_reference_rates_leave_the_distilled_row(do, undisturbed, results, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(undisturbed["trainable"], folder)
    do("evaluate", folder, "--evaluate.rate_scales", "[0.5]", "--evaluate.num_students", "1")
    assert [r["method"] for r in results(folder)[6:]] == ["random", "full"]


def test_scales_of_learned_rates_are_chosen_once_for_all_students_and_kept(
    do, tiny, undisturbed, results, tmp_path, monkeypatch
):
    folder = tmp_path / "run"
    shutil.copytree(undisturbed["trainable"], folder)
    before = results(folder)
    asked = ("--evaluate.scale_learned", "true", "--evaluate.rate_scales", "[0.1]", "--evaluate.methods", "[distilled]")
    tried, left = Evaluator.try_scales, [2]

    def interrupted(*arguments):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return tried(*arguments)

    monkeypatch.setattr(Evaluator, "try_scales", interrupted)
    assert main(tiny("evaluate", folder, *asked)) == 130
    (kept,) = (folder / "rates").iterdir()
    assert len(json.loads(kept.read_text())["trials"]) == 2
    left[0] = 1  # the third and last trial
    do("evaluate", folder, *asked)
    first, second = (result for result in results(folder) if result not in before)
    assert first["rates"] == second["rates"] and first["rates_tried"] == 3
    assert first["rates"]["trials"] == json.loads(kept.read_text())["trials"]
    assert [(t["image"], t["text"]) for t in first["rates"]["trials"][:2]] == [(1.0, 1.0), (0.1, 1.0)]
    # whoever trains a student of these pairs later takes the same rates
    (folder / "results.jsonl").unlink()
    do("evaluate", folder, *asked)
    assert [result["rates"] for result in results(folder)] == [first["rates"]] * 2


def test_students_need_the_distilled_set_alone(do, undisturbed, results, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(undisturbed["trainable"] / "distilled", folder / "distilled")
    do("evaluate", folder, "--evaluate.methods", "[distilled]")
    assert results(folder) == results(undisturbed["trainable"])[2:4]


@pytest.mark.parametrize("stage", ["run", "teach", "distill", "evaluate"])
def test_other_settings_in_the_same_folder_are_refused(tiny, undisturbed, capsys, tmp_path, stage):
    folder = tmp_path / "run"
    shutil.copytree(undisturbed["trainable"], folder)
    before = content(folder)
    assert main(tiny(stage, folder, "--distill.ema_decay", "0.5", "--teacher.lr_text", "0.2")) == 2
    message = capsys.readouterr().err
    assert "holds a run with other settings; choose another run_dir" in message
    assert "distill.ema_decay: 0.9 before, 0.5 now" in message and "teacher.lr_text: 0.1 before, 0.2 now" in message
    assert content(folder) == before


# what goes wrong


def test_an_unknown_key_is_refused_before_anything_is_made(tiny, capsys, tmp_path):
    with pytest.raises(SystemExit) as caught:
        main(tiny("run", tmp_path / "run", "--distill.no_such_key", "1"))
    assert caught.value.code == 2 and "no_such_key" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_evaluating_without_a_distilled_set_says_what_to_do(tiny, capsys, tmp_path):
    assert main(tiny("evaluate", tmp_path / "run")) == 1
    assert "holds no distilled set; run `pairstill distill`" in capsys.readouterr().err


def test_more_pairs_than_images_stop_the_run_before_teachers_train(tiny, capsys, tmp_path):
    assert main(tiny("run", tmp_path / "run", "--data.scenes.train", "9")) == 1
    assert "split 'train' has 9 usable images but 10 are needed" in capsys.readouterr().err
    assert not (tmp_path / "run" / "trajectories").exists()


def test_a_diverging_teacher_stops_the_run_and_leaves_no_expert(tiny, capsys, tmp_path):
    assert main(tiny("run", tmp_path / "run", "--teacher.lr_image", "1e30")) == 1
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith("pairstill: error: ") and "lower teacher.lr_image" in message
    assert not list((tmp_path / "run").rglob("expert_*"))


# quickstart


def test_the_last_line_of_quickstart_is_one_json_object(capsys, monkeypatch, undisturbed, results, tiny, tmp_path):
    seen, original = [], quickstart.open_run
    settings = settings_from(tiny("run", tmp_path / "run")[1:])

    def small(config):
        seen.append(config)
        return original(settings)

    monkeypatch.setattr(quickstart, "open_run", small)
    assert main(["quickstart", "--json", "--run_dir", str(tmp_path / "run")]) == 0
    assert seen == [RunConfig(run_dir=str(tmp_path / "run"))], "quickstart is the default settings"
    *shown, last = capsys.readouterr().out.splitlines()
    found = json.loads(last)
    assert found.keys() == {"mean_recall", "seconds", "run"}
    assert found["run"] == str(tmp_path / "run") and found["seconds"] > 0
    means = {}
    for result in results(undisturbed["trainable"]):
        means.setdefault(result["method"], []).append(result["mean_recall"])
    expected = {method: pytest.approx(sum(m) / len(m), abs=0.01) for method, m in means.items()}
    assert found["mean_recall"] == expected and list(expected) == ["random", "ptm_st", "full"]
    assert any("PTM-ST" in line for line in shown)

    assert main(["quickstart", "--run_dir", str(tmp_path / "run")]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert not last.startswith("{") and "results.md" in last


def test_distilled_pairs_have_moved_from_where_they_started(do, undisturbed, tmp_path):
    still = do("distill", tmp_path / "run", *(f"--distill.outer.lr_{n}=0" for n in ("images", "texts", "similarity")))
    start, end = (load_tensors(f / "distilled" / "distilled.safetensors") for f in (still, undisturbed["trainable"]))
    assert start.keys() == end.keys()
    for name in start:
        assert (start[name] != end[name]).any(), name


def test_results_of_other_pairs_do_not_count(do, undisturbed, results, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(undisturbed["trainable"], folder)
    before = results(folder)
    assert {r["method"]: r["pairs"] for r in before if r["pairs"]} == {"ptm_st": stored_pairs(folder / "distilled")}
    other = DistilledSet.load(folder / "distilled")
    for phase in other.phases:
        phase.images.neg_()
    other.save(folder / "distilled")
    do("evaluate", folder)
    after, now = results(folder), stored_pairs(folder / "distilled")
    assert [r["pairs"] for r in after if r["method"] == "ptm_st"] == [before[2]["pairs"]] * 2 + [now, now]
    assert len({r["ranks"] for r in after}) == len(after)
    assert [r for r in after if not r["pairs"]] == [r for r in before if not r["pairs"]], "references stay"
