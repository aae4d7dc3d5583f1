from dataclasses import replace

import pytest
import yaml

from pairstill.exchange.card import CardFacts, card
from pairstill.exchange.png import PngCost
from pairstill.exchange.settings import LAYOUTS, WITH_PNG

FACTS = CardFacts(
    "PTM-ST",
    "arXiv 2603.25388",
    None,
    "| method | IR@1 |\n",
    ("strict",),
    PngCost("strict", (30.0, 32.0), (29.0, 30.0)),
)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_card_says_what_a_stranger_must_know(make, layout):
    text = card(make("mixed"), layout, FACTS)
    header = yaml.safe_load(text.split("---")[1])
    assert header["license"] == "unknown" and ("configs" in header) == (layout == "huggingface")
    for word in ("PTM-ST", "2603.25388", "1,200 training pairs", "unknown: you must check", "`strict`", "tiny", "d1"):
        assert word in text
    for title in ("How it was made", "Sources and licences", "Numbers", "Intended use and limits", "Reading it"):
        assert f"\n## {title}\n" in text
    assert "| 1 | 5 | 0.1 | 0.3333 | full matrix |" in text and "low rank" in text
    assert ("a loss of 1.50 ± 0.71 points" in text) == (layout in WITH_PNG)


def test_what_png_gains_is_called_a_gain_and_one_student_is_not_several(make):
    text = card(make(), "imagefolder", replace(FACTS, png=PngCost("strict", (30.0,), (31.674,))))
    assert "Mean recall of 1 student, trained on" in text and ": 31.67 instead of 30.00, a gain of 1.67 points" in text
    text = card(make(), "imagefolder", replace(FACTS, png=PngCost("strict", (30.0,), (30.001,))))
    assert "a loss of 0.00 points" in text


def test_what_is_not_known_is_said(make):
    text = card(make(), "imagefolder", replace(FACTS, results=None, png="the real pairs are not at hand"))
    assert "Nothing was measured" in text and "not measured (the real pairs are not at hand)" in text
    assert "may still show them" in text


def test_a_stated_licence_stands_in_the_card(make):
    text = card(make(), "parquet", replace(FACTS, licence="CC BY 4.0"))
    assert "Their licence: CC BY 4.0." in text
    assert yaml.safe_load(text.split("---")[1])["license"] == "cc-by-4.0"
    header = yaml.safe_load(card(make(), "parquet", replace(FACTS, licence="ours: ask")).split("---")[1])
    assert (header["license"], header["license_name"]) == ("other", "ours: ask")


def test_a_local_encoder_is_named_without_its_folder(make):
    distilled = make()
    encoder = {**distilled.text_encoder, "name": "/home/someone/encoders/bert"}
    text = card(replace(distilled, text_encoder=encoder), "parquet", FACTS)
    assert "Text tower: bert," in text and "someone" not in text


def test_the_optimistic_protocol_is_called_so(make):
    text = card(
        make(), "imagefolder", replace(FACTS, protocols=("strict", "paper"), png=PngCost("paper", (1.0,), (1.0,)))
    )
    assert "optimistic" in text and "how often it was read for a student, stands beside the mean" in text
    assert "(protocol `paper`, chosen on the test split, which was read as often as stands above)" in text
    assert "chosen on the test split" not in card(make(), "imagefolder", FACTS)


def test_whoever_reads_a_set_is_told_of_weights_that_were_a_local_file(make):
    texts = [card(make(), "parquet", replace(FACTS, local_weights=local)) for local in (True, False)]
    assert ["--image.weights WEIGHTS" in text for text in texts] == [True, False]


def test_few_test_images_are_told_of(make):
    with_it = card(make(), "parquet", replace(FACTS, caution="The test split has only 12 images"))
    assert "protocol `strict`" in with_it and "The test split has only 12 images.\n\n| method" in with_it
