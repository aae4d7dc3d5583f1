"""A small page, whose captions are as hostile as captions can be."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from pairstill.distilled import DistilledPhase
from pairstill.report.charts import Chart, Line, draw
from pairstill.report.gallery import Near, Real, phase_view
from pairstill.report.page import Fact, Page, Question, Retrieval, ShownHit
from pairstill.report.pictures import data_uri

HOSTILE = "</script><script>window.hacked = true</script><img src=x onerror=\"window.hacked = true\"> & 'quotes'"
ENCODER = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}


def _phase(number: int, pairs: int) -> tuple[DistilledPhase, Real]:
    generator = torch.Generator().manual_seed(number)
    images = torch.randn(pairs, 3, 12, 12, generator=generator)
    captions = (HOSTILE, *(f"pair number {index}" for index in range(1, pairs)))
    texts = torch.randn(pairs, 6, generator=generator)
    factors = {"matrix": torch.eye(pairs) + 0.1 * torch.randn(pairs, pairs, generator=generator)}
    phase = DistilledPhase(
        images=images,
        text_embeddings=texts,
        similarity_factors=factors,
        inner_lr_image=0.1,
        inner_lr_text=0.2,
        captions=captions,
        sources=captions,
    )
    near = [[Near(HOSTILE, 0.9), Near("something near", 0.8)]] * pairs
    return phase, Real(near, torch.rand(pairs, 3, 12, 12, generator=generator), texts + 0.1)


@pytest.fixture
def hostile() -> str:
    """A caption that would run a script if it were not escaped."""
    return HOSTILE


@pytest.fixture
def make_page() -> Callable[..., Page]:
    """Build a page of two phases; what is given takes the place of its parts."""

    def make(**parts: Any) -> Page:
        made = (_phase(number, 4) for number in (1, 2))
        phases = [phase_view(number, phase, ENCODER, real, 96) for number, (phase, real) in enumerate(made, start=1)]
        picture = data_uri(torch.zeros(3, 8, 8, dtype=torch.uint8), 96)
        hits = [ShownHit(picture, "", 0.5, True), ShownHit(picture, "", 0.4, False)]
        worded = [ShownHit("", HOSTILE, 0.5, False)]
        whole: dict[str, Any] = {
            "title": f"PTM-ST {HOSTILE}",
            "state": "Finished.",
            "facts": [Fact("Pairs", "8", HOSTILE)],
            "rows": [],
            "rows_note": "",
            "protocol": "strict",
            "charts": [draw(Chart("Loss", "step", "nats", (Line(HOSTILE, ((1, 2.0), (2, 1.0))),)))],
            "phases": phases,
            "phases_note": "",
            "rates_note": "",
            "rates": (),
            "retrieval": Retrieval(
                "student 0", [Question("", HOSTILE, hits, 1, 9)], [Question(picture, "", worded, 4, 9)], 8
            ),
            "times": [Fact("teach", "3 s")],
            "provenance": [Fact("source", HOSTILE)],
            "changed_settings": [Fact("seed", "3", "default 0")],
            "settings": f"run_dir: {HOSTILE}\n",
            "made": "now",
        }
        return Page(**(whole | parts))

    return make
