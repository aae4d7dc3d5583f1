"""The page of a run: what it shows, and the HTML that shows it, which needs nothing from elsewhere."""

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pairstill.core.errors import ConfigError
from pairstill.core.formatting import printable
from pairstill.evaluate.results import TITLES, of_tower
from pairstill.report import charts
from pairstill.report.charts import Drawing
from pairstill.report.gallery import PhaseView
from pairstill.report.tables import Row, cells, header

MARK = b"pairstill-theme"
"""What every page has in its script."""

SECTIONS = (
    ("recalls", "Recalls"),
    ("curves", "Curves"),
    ("pairs", "Pairs"),
    ("similarity", "Similarity"),
    ("retrieval", "Retrieval"),
    ("storage", "Storage and time"),
    ("provenance", "Provenance"),
    ("settings", "Settings"),
)


@dataclass(frozen=True)
class Fact:
    """One thing to know: its name, its value, and a word on it."""

    name: str
    value: str
    note: str = ""


def rate_facts(results: Iterable[Mapping[str, Any]]) -> list[Fact]:
    """Return the scales that each row's students train at, and what validation said of all that were tried."""
    facts: dict[str, Fact] = {}
    for result in results:
        rates = result.get("rates", {"trials": ()})
        if not rates["trials"]:
            continue
        tried = ", ".join(
            f"{trial['image']:g} and {trial['text']:g}: {recall_in_words(trial['validation_mean_recall'])}"
            for trial in rates["trials"]
        )
        title = of_tower(result.get("title", TITLES.get(result["method"], result["method"])), result.get("tower"))
        value = f"images {rates['image']:g}, texts {rates['text']:g}"
        facts[title] = Fact(title, value, f"validation recall of one student at {tried}")
    return list(facts.values())


def recall_in_words(recall: float | None) -> str:
    """Return the recall of a trial, or that it diverged."""
    return "diverged" if recall is None else f"{recall:.1f}"


@dataclass(frozen=True)
class ShownHit:
    """One thing that a query found: a picture or a caption, the cosine, and whether it is right."""

    picture: str
    text: str
    score: float
    right: bool


@dataclass(frozen=True)
class Question:
    """A query and what it found.

    Attributes:
        picture: the query image as a data URI, or empty for a query in words.
        text: the query in words, or empty.
        hits: what it found, the best first.
        rank: rank of the first right one, from 1.
        total: how many there were to find it among.
    """

    picture: str
    text: str
    hits: Sequence[ShownHit]
    rank: int
    total: int


@dataclass(frozen=True)
class Retrieval:
    """Retrieval examples.

    Attributes:
        about: which student, and how the queries were chosen.
        by_caption: images found by captions.
        by_image: captions found by images.
        side: width of the pictures in pixels.
    """

    about: str
    by_caption: Sequence[Question]
    by_image: Sequence[Question]
    side: int


@dataclass(frozen=True, kw_only=True)
class Page:
    """All that the page of a run shows.

    Attributes:
        title: its title.
        state: how far the run is, and where it lies.
        facts: the run in short.
        rows: rows of the table of recalls.
        rows_note: what must be said of them, or empty.
        rates: what the rates of each row's students were multiplied with, where that was chosen.
        protocol: the protocol in words.
        charts: curves.
        phases: the pairs.
        phases_note: why something of the pairs is not shown, or empty.
        rates_note: what the rates of the pairs are, where curves and log show others; or empty.
        retrieval: retrieval examples, or why there are none.
        times: seconds and memory.
        provenance: what the run was made from.
        changed_settings: settings that are not the defaults.
        settings: all settings, as YAML.
        made: how and when this page was made.
    """

    title: str
    state: str
    facts: Sequence[Fact]
    rows: Sequence[Row]
    rows_note: str
    rates: Sequence[Fact]
    protocol: str
    charts: Sequence[Drawing]
    phases: Sequence[PhaseView]
    phases_note: str
    rates_note: str
    retrieval: Retrieval | str
    times: Sequence[Fact]
    provenance: Sequence[Fact]
    changed_settings: Sequence[Fact]
    settings: str
    made: str


@cache
def _environment() -> Environment:
    """Return the templates; everything that goes into one is escaped, save our own style and script."""
    return Environment(
        loader=PackageLoader("pairstill.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(page: Page) -> str:
    """Return the page as HTML: one file that loads nothing and runs no script but its own."""
    environment = _environment()
    style, script = (_source(environment, name) for name in ("style.css", "page.js"))
    return environment.get_template("page.html").render(
        page=page,
        sections=SECTIONS,
        columns=header(page.rows),
        cells=cells,
        most=max((row.mean for row in page.rows), default=0),
        frame={
            "width": charts.WIDTH,
            "height": charts.HEIGHT,
            "left": charts.LEFT,
            "right": charts.RIGHT,
            "bottom": charts.BOTTOM,
        },
        style=Markup(style),
        script=Markup(script),
        script_digest="sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def refuse_other_file(path: Path) -> None:
    """Refuse to write a page over a file that is none.

    Raises:
        ConfigError: there is a folder, or a file that is no page of ours.
    """
    try:
        there = path.is_file() and MARK not in path.read_bytes()
        if there or path.is_dir():
            what = "a file that is no page of pairstill" if there else "a folder"
            raise ConfigError(f"out is {str(path)!r}, {what}: nothing of yours is written over; name another file")
    except OSError as error:
        raise ConfigError(
            f"out is {str(path)!r}, which cannot be read ({error.strerror}); name another file"
        ) from error


def _source(environment: Environment, name: str) -> str:
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]
