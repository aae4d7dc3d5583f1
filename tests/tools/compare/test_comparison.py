import json
from dataclasses import replace

import pytest
import torch

from pairstill.config import (
    EvaluateConfig,
    ImageConfig,
    PhaseConfig,
    RunConfig,
    SeedsConfig,
    StudentConfig,
    TrajectoryConfig,
)
from pairstill.core.errors import ArtifactError, ConfigError
from pairstill.evaluate.measurement import measured_as
from pairstill.evaluate.retrieval import QueryRanks, few_test_images
from pairstill.evaluate.stored import StoredRanks
from pairstill.report.tables import RECALL_TITLES
from pairstill.tools.compare.comparison import compare
from pairstill.tools.compare.files import page, refuse_other_folder, write_comparison
from pairstill.tools.compare.runs import open_run

IMAGES = 80
OWNER = torch.arange(IMAGES)


def one_phase(num_pairs):
    return TrajectoryConfig(phases=(PhaseConfig(num_pairs=num_pairs),))


@pytest.fixture
def make_run(tmp_path):
    """Write a run whose students recall given percentages of the test queries, and return its folder and settings."""

    def make(name, rates, *, test_data="t", **settings):
        config = RunConfig(run_dir=str(tmp_path / name), **{"distill": one_phase(20), **settings})
        lines = []
        for (row, protocol), of_students in rates.items():
            for student, rate in enumerate(of_students):
                generator = torch.Generator().manual_seed(7 + student)
                hits = torch.randperm(IMAGES, generator=generator)[: round(rate * IMAGES / 100)]
                ranks = QueryRanks(*(torch.full((IMAGES,), 50).index_fill_(0, hits, 0) for _ in "ci"))
                file = f"ranks/{row}-{protocol}-{student}.safetensors"
                StoredRanks(ranks, OWNER).save(tmp_path / name / file)
                made = row not in ("random", "full")
                lines.append(
                    {
                        "method": row,
                        "protocol": protocol,
                        "num_pairs": config.distill.num_pairs + (not made),
                        "measured_as": measured_as(config, row, protocol),
                        "seeds": {
                            "run": config.seed,
                            "teachers": config.teachers_seed if made else None,
                            "distillation": config.distillation_seed if made else None,
                            "student": student,
                        },
                        **dict.fromkeys(RECALL_TITLES, ranks.recalls.mean),
                        "mean_recall": round(ranks.recalls.mean, 4),
                        **{"seconds": 1.0, "bytes": 1000, "ranks": file, "test_data": test_data},
                    }
                )
        (tmp_path / name / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return tmp_path / name, config

    return make


def opened(*runs):
    return [open_run(*run) for run in runs]


def compared(*runs):
    return compare(opened(*runs), 200, torch.Generator().manual_seed(0))


def sentences(comparison):
    return [f"{contest.protocol}: {contest.sentence}" for contest in comparison.contests]


def test_methods_are_compared_two_by_two_and_each_with_its_random(make_run):
    found = compared(
        make_run("a", {("ptm_st", "strict"): (60, 65), ("random", "strict"): (20,)}),
        make_run("b", {("lors", "strict"): (40, 45)}, method="lors"),
    )
    assert [(row.title, row.num_pairs, row.students) for row in found.rows] == [
        *(("PTM-ST", 20, 2), ("Random", 21, 1), ("LoRS", 20, 2)),
    ]
    first, second = sentences(found)
    assert first.startswith("strict: PTM-ST is ahead of LoRS by 20.0 [")
    assert second.startswith("strict: PTM-ST is ahead of Random (21 pairs) by 42.5 [")
    assert second.endswith("p = 0.010; for these distillations alone")
    assert [contest.difference.is_clear for contest in found.contests] == [True, True]


def test_a_sentence_names_the_better_one_first_and_says_when_nothing_is_clear(make_run):
    worse = make_run("a", {("ptm_st", "strict"): (20,)})
    (sentence,) = sentences(compared(worse, make_run("b", {("lors", "strict"): (70,)}, method="lors")))
    assert sentence.startswith("strict: LoRS is ahead of PTM-ST by 50.0 [")
    (sentence,) = sentences(compared(worse, make_run("c", {("lors", "strict"): (20,)}, method="lors")))
    assert sentence == (
        "strict: no clear difference between PTM-ST and LoRS: PTM-ST is ahead by 0.0 [0.0, 0.0], p = 1.000; for these "
        "distillations alone"
    )


def test_few_test_images_are_told_of(make_run):
    found = compared(make_run("a", {("ptm_st", "strict"): (20,)}))
    few = few_test_images(IMAGES)
    assert found.caution == few and (f"{few}." in page(found) if few else "The test split" not in page(found))
    told = replace(found, caution=few_test_images(12))
    assert "has only 12 images: for a caption, ten images drawn blindly hold the right one in 83 % of" in page(told)
    assert told.to_json()["caution"] == told.caution and few_test_images(100) == few_test_images(None) == ""


def test_each_protocol_is_compared_by_itself(make_run):
    both = EvaluateConfig(protocol="both")
    found = compared(
        make_run("a", {("ptm_st", "strict"): (40,), ("ptm_st", "paper"): (50,)}, evaluate=both),
        make_run("b", {("lors", "strict"): (60,), ("lors", "paper"): (70,)}, evaluate=both, method="lors"),
    )
    assert [sentence.partition(":")[0] for sentence in sentences(found)] == ["strict", "paper"]
    assert [row.optimism for row in found.rows] == [None, pytest.approx(10), None, pytest.approx(10)]
    assert "optimism" in page(found)


def test_runs_that_differ_in_seeds_alone_are_one_row_with_their_spread(make_run):
    other = SeedsConfig(teachers=0, distillation=1)
    found = compared(
        make_run("a", {("ptm_st", "strict"): (40, 50)}),
        make_run("b", {("ptm_st", "strict"): (60, 70)}, seeds=other),
        make_run("c", {("ptm_st", "strict"): (10, 20)}, seed=1, trajectories_dir="elsewhere"),
    )
    (row,) = found.rows
    assert (row.title, row.students, row.mean) == ("PTM-ST", 6, pytest.approx(250 / 6))
    # means of sets 45 and 65 by the same teachers; those of teachers 55 and 15
    assert row.spreads.distillations == pytest.approx(200**0.5) and row.spreads.teachers == pytest.approx(800**0.5)
    assert found.contests == ()


def test_several_distillations_are_resampled_and_the_sentence_says_what_it_speaks_of(make_run):
    def repeated(name, rates, **settings):
        method = settings.get("method", "ptm_st")
        return [
            make_run(f"{name}{seed}", {(method, "strict"): (rate,)}, seeds=SeedsConfig(0, seed), **settings)
            for seed, rate in enumerate(rates)
        ]

    near, far, one = repeated("a", (40, 60)), repeated("b", (50, 50), method="lors"), repeated("c", (50,), method="mct")
    (found,) = compared(*near, *far).contests
    assert found.sentence.startswith("no clear difference between PTM-ST and LoRS: ")
    assert found.sentence.endswith("; over 2 distillations of each")
    assert found.distillations == (2, 2) and found.difference.recall.value == pytest.approx(0)
    assert found.difference.recall.low < -9 and found.difference.recall.high > 9  # 40 or 60 against 50
    (found,) = compared(*near, *one).contests
    assert found.sentence.endswith("; PTM-ST: 2 sets, MCT: one set")


def test_runs_of_several_seeds_that_measured_the_same_random_count_it_once(make_run):
    runs = [
        make_run(f"a{seed}", {("ptm_st", "strict"): (60,), ("random", "strict"): (20, 30)}, seeds=SeedsConfig(0, seed))
        for seed in range(3)
    ]
    (found,) = compared(*runs).contests
    assert found.distillations == (3, 2) and found.difference.recall.value == pytest.approx(35)


def test_what_two_folders_hold_alike_counts_once(make_run):
    runs = [make_run(name, {("ptm_st", "strict"): (40, 50)}) for name in "ab"]
    (row,) = compared(*runs).rows
    assert row.students == 2


def test_settings_beside_the_pairs_that_differ_are_named(make_run, tmp_path):
    runs = [
        make_run("a", {("ptm_st", "strict"): (40,)}),
        make_run("b", {("lors", "strict"): (60,)}, method="lors", image=ImageConfig(name="resnet18")),
        make_run("c", {("mct", "strict"): (60,)}, method="mct", student=StudentConfig(epochs=7), cache_dir="elsewhere"),
    ]
    found = compared(*runs)
    assert found.differing == (
        "image.name: nf_resnet_tiny (PTM-ST, MCT); resnet18 (LoRS)",
        "student.epochs: 50 (PTM-ST, LoRS); 7 (MCT)",
    )
    assert found.to_json()["differing"] == list(found.differing) and found.differing[0] in page(found)
    assert compared(runs[0]).differing == () and "differ in what follows" not in page(compared(runs[0]))


def test_other_settings_make_other_rows_whose_titles_tell_them_apart(make_run):
    runs = [
        make_run("a", {("ptm_st", "strict"): (40,)}),
        make_run("b", {("ptm_st", "strict"): (50,)}, distill=one_phase(30)),
        make_run("c", {("ptm_st", "strict"): (60,)}, distill=replace(one_phase(30), ema=False)),
    ]
    assert [row.title for row in compared(*runs[:2]).rows] == ["PTM-ST, 20 pairs", "PTM-ST, 30 pairs"]
    titles = [row.title for row in compared(*runs).rows]
    assert titles == ["PTM-ST, 20 pairs", *(f"PTM-ST ({path})" for path, _ in runs[1:])]


def test_references_that_are_the_same_stand_once_and_others_apart(make_run):
    rates = {("random", "strict"): (20, 30), ("full", "strict"): (80,)}
    first = make_run("a", {("ptm_st", "strict"): (40,), **rates})
    same = make_run("b", {("lors", "strict"): (60,), **rates}, method="lors")
    rows = {row.title: (row.students, row.share) for row in compared(first, same).rows}
    assert rows == {
        "PTM-ST": (1, pytest.approx(50)),
        "LoRS": (1, pytest.approx(75)),
        "Random": (2, pytest.approx(31.25)),
        "Full data": (1, pytest.approx(100)),
    }
    student = {"student": StudentConfig(epochs=7), "method": "lors"}
    rows = compared(first, make_run("c", {("lors", "strict"): (60,), ("full", "strict"): (90,)}, **student)).rows
    assert [row.title for row in rows if row.title.startswith("Full")] == [
        f"Full data ({first[0]})",
        f"Full data ({first[0].parent / 'c'})",
    ]
    assert [round(row.share) for row in rows if row.title in ("PTM-ST", "LoRS")] == [50, 67]


def test_other_test_data_is_refused(make_run):
    runs = make_run("a", {("ptm_st", "strict"): (40,)}), make_run("b", {("ptm_st", "strict"): (40,)}, test_data="u")
    with pytest.raises(ConfigError, match=r"b was measured on other test data \(fingerprint u\) than .*a \(t\)"):
        compared(*runs)


def test_results_without_ranks_must_be_measured_again(make_run):
    path, config = make_run("a", {("ptm_st", "strict"): (40,)})
    (line,) = (path / "results.jsonl").read_text().splitlines()
    old = {key: value for key, value in json.loads(line).items() if key != "ranks"}
    (path / "results.jsonl").write_text(json.dumps(old) + "\n")
    with pytest.raises(ArtifactError, match="earlier version; run `pairstill evaluate --config .*--run_dir .*a` again"):
        open_run(path, config)


def test_results_of_other_settings_do_not_count(make_run):
    path, config = make_run("a", {("ptm_st", "strict"): (40,)})
    with pytest.raises(ArtifactError, match="holds no results that were measured as its settings say; run `pairstill"):
        open_run(path, replace(config, student=StudentConfig(epochs=3)))


def test_ranks_that_are_gone_or_belong_to_others_are_found(make_run):
    path, config = make_run("a", {("ptm_st", "strict"): (40,), ("random", "strict"): (10,)})
    other, file = path / "ranks" / "random-strict-0.safetensors", path / "ranks" / "ptm_st-strict-0.safetensors"
    file.write_bytes(other.read_bytes())
    with pytest.raises(ArtifactError, match="gives another recall than results.jsonl says"):
        compared((path, config))
    file.unlink()
    with pytest.raises(ArtifactError, match="does not exist; copy the whole run"):
        compared((path, config))


def test_files_of_a_comparison_without_distillations_have_no_curves(make_run, tmp_path):
    found = compared(
        make_run("a", {("ptm_st", "strict"): (40,)}), make_run("b", {("lors", "strict"): (9,)}, method="lors")
    )
    write_comparison(found, tmp_path / "out")
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"comparison.md", "comparison.json"}
    stored = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert stored == json.loads(json.dumps(found.to_json()))
    assert stored["differences"][0]["recall"]["value"] == pytest.approx(31, abs=1)
    assert stored["runs"] == {"PTM-ST": [str(tmp_path / "a")], "LoRS": [str(tmp_path / "b")]}


def test_a_run_of_random_pairs_is_told_from_the_reference_and_not_compared_with_it(make_run):
    runs = [
        make_run("a", {("random_selected", "strict"): (25,), ("random", "strict"): (20,)}, method="random"),
        make_run("b", {("ptm_st", "strict"): (60,), ("random", "strict"): (20,)}),
    ]
    found = compare([open_run(*run) for run in runs], 100, torch.Generator().manual_seed(0))
    pairs = {(contest.first, contest.second) for contest in found.contests}
    assert pairs == {("Random, one draw", "PTM-ST"), ("PTM-ST", "Random, 21 pairs")}
    assert "'Random, one draw' is a run of the method random" in page(found)


def test_files_of_the_user_are_not_written_over(make_run, tmp_path):
    found = compared(make_run("a", {("ptm_st", "strict"): (40,)}))
    out = tmp_path / "out"
    refuse_other_folder(out)
    write_comparison(found, out)
    refuse_other_folder(out)
    (out / "comparison.json").write_text("{}")
    with pytest.raises(ConfigError, match="out is .*not empty and does not hold a comparison .*nothing of yours"):
        refuse_other_folder(out)


def test_what_runs_know_of_bytes_and_other_encoders_is_drawn_with_its_data(make_run, tmp_path):
    runs = [
        make_run("a", {("ptm_st", "strict"): (40, 50)}),
        make_run("b", {("ptm_st", "strict"): (60,)}, distill=one_phase(30)),
    ]
    for (folder, _), disk, recall in zip(runs, (1000, 20_000), (11.0, 12.0), strict=True):
        results = [
            json.loads(line) | {"disk_bytes": disk} for line in (folder / "results.jsonl").read_text().splitlines()
        ]
        (folder / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in results))
        student = {"image": "a (64 px)", "text": "x (8)", "method": "ptm_st", "seeds": {"run": 0, "student": 0}}
        (folder / "cross.jsonl").write_text(json.dumps(student | {"measured_as": "m", "mean_recall": recall}) + "\n")
    out = tmp_path / "out"
    write_comparison(compared(*runs), out)
    columns, *by_bytes = ((out / "recall_by_bytes.csv").read_text()).splitlines()
    assert columns == "row,pairs,disk_bytes,mean_recall,over_students"
    assert [line.split(",")[-3:-1] for line in by_bytes] == [["1000", "45.0"], ["20000", "60.0"]]
    by_encoder = (out / "recall_by_encoder.csv").read_text().splitlines()[1:]
    assert [line.split(",", 2)[-1].rpartition('"')[2].lstrip(",") for line in by_encoder] == [
        "a + x,11.0",
        "a + x,12.0",
    ]
    drawn = (out / "recall_by_bytes.svg").read_text()
    assert "bytes on disk" in drawn and "10 kB" in drawn and (out / "recall_by_encoder.png").is_file()
