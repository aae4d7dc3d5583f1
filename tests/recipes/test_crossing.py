"""A tiny matrix of students' encoders through the command line."""

import json
import shutil
from dataclasses import replace

import pytest

from pairstill.cli import main
from pairstill.distilled import DistilledSet
from pairstill.encoders.text import HashedNgrams
from pairstill.exchange.compact import caption_bytes, sizes
from pairstill.studies.cross_encoder import study as module

RECALLS = ("text_to_image_r1", "image_to_text_r10", "mean_recall", "validation_mean_recall", "epoch")
MATRIX = (
    *("--image-encoder", "nf_resnet_tiny", "--image-encoder", "nf_resnet_tiny,size=20,init_seed=1"),
    *("--text-encoder", "hashed_ngrams", "--text-encoder", "hashed_ngrams,width=24", "--map-text"),
    *("--evaluate.rate_scales", "[0.1]"),
)


def lines(run_dir):
    return [json.loads(line) for line in (run_dir / "cross.jsonl").read_text().splitlines()]


@pytest.fixture
def run(request, undisturbed, options_of, tmp_path):
    """A copy of a finished run, with a frozen tower unless the test says otherwise, and its options."""
    mode = getattr(request, "param", "frozen")
    shutil.copytree(undisturbed[mode], tmp_path / "run")
    return tmp_path / "run", options_of[mode]


@pytest.mark.parametrize("run", ["trainable", "frozen"], indirect=True)
def test_a_matrix_is_measured_once_cell_by_cell_and_goes_on_where_it_stopped(do, tiny, run, results, monkeypatch):
    folder, options = run
    original, left = module.choose_rates, [3]

    def interrupted(*arguments):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return original(*arguments)

    monkeypatch.setattr(module, "choose_rates", interrupted)
    assert main(tiny("evaluate", folder, *options, *MATRIX)) == 130
    first = lines(folder)
    assert len(first) == 3
    left[0] = 5
    do("evaluate", folder, *options, *MATRIX)
    found = lines(folder)
    assert found[:3] == first and len(found) == 8
    do("evaluate", folder, *options, *MATRIX)  # nothing is left to measure
    assert lines(folder) == found

    images, texts = "nf_resnet_tiny (untrained, {} px)", "hashed_ngrams ({})"
    cells = [(line["image"], line["text"], line["seeds"]["student"]) for line in found]
    sizes = ("16", "seed 1, 20")
    labels = [images.format(sizes[0]), "nf_resnet_tiny (untrained, seed 1, 20 px)"]
    assert cells == [(i, texts.format(w), s) for i in labels for w in (16, 24) for s in (0, 1)]
    scaled = [{side for side in ("image", "text") if line["rates"][side] != 1} for line in found]
    assert all(line["rates"] == found[number // 2 * 2]["rates"] for number, line in enumerate(found)), "one of a cell"
    assert scaled[0] == scaled[1] == set() and all("image" not in sides for sides in scaled[2:4])
    assert "map_explains_validation_captions" in found[2] and found[4]["text_map"] == "none"

    own = {r["seeds"]["student"]: r for r in results(folder) if r["method"] == "ptm_st"}
    for line in found[:2]:  # the pairs' own encoders: the ordinary evaluation, to the bit
        same = own[line["seeds"]["student"]]
        assert same.keys() <= line.keys()
        for key in (*RECALLS, "seeds", "pairs", "test_data", "encoders", "num_pairs", "bytes", "rates_tried"):
            assert line[key] == same[key], key
    assert len({line["encoders"] for line in found}) == 4 and len({line["ranks"] for line in found}) == 8
    assert labels[1] in (folder / "cross.md").read_text()


def test_a_glossary_reads_another_text_encoder_without_real_data(do, run, capsys):
    folder, options = run
    made = DistilledSet.load(folder / "distilled")
    captions = tuple(dict.fromkeys(caption for phase in made.phases for caption in phase.captions))
    replace(made, glossary=captions).save(folder / "distilled")
    foreign = ("--text-encoder", "hashed_ngrams,width=24", "--evaluate.rate_scales", "[1]")
    do("evaluate", folder, *options, *foreign)
    for line in lines(folder):
        assert (line["own_texts"], line["text_map"], line["text"]) == (False, "glossary", "hashed_ngrams (24)")
        assert line["map_explains_validation_captions"] < 1
        assert line["disk_bytes"] == sizes(made).total + caption_bytes(captions)
    assert len(lines(folder)) == 2 and "explains" in (folder / "cross.md").read_text()
    do("evaluate", folder, *options, *foreign, "--map-text")  # by the real captions, if that is asked for
    assert [line["text_map"] for line in lines(folder)] == ["glossary"] * 2 + ["ridge"] * 2


def test_another_width_needs_the_map(do, tiny, run, capsys):
    folder, options = run
    assert main(tiny("evaluate", folder, *options, "--text-encoder", "hashed_ngrams,width=24")) == 2
    assert "text encoders of width 16 fit; for others add --map-text" in capsys.readouterr().err
    assert not (folder / "cross.jsonl").exists()
    assert main(tiny("evaluate", folder, *options, "--map-text")) == 2
    assert "name one with --text-encoder" in capsys.readouterr().err


def test_another_space_of_the_same_width_is_taken_as_it_is_with_a_warning(do, run, monkeypatch, capsys):
    folder, options = run
    monkeypatch.setattr(HashedNgrams, "SCHEME", "another")
    do("evaluate", folder, *options, "--text-encoder", "hashed_ngrams", "--evaluate.rate_scales", "[]")
    assert "not the text encoder of the pairs, but as wide" in " ".join(capsys.readouterr().err.split())
    assert [(line["own_texts"], line["text_map"]) for line in lines(folder)] == [(False, "none")] * 2
