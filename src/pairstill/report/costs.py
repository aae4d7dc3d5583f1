"""Recall by what pairs take on disk, and by the students' encoders: charts of results."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import mean
from typing import Any

from pairstill.evaluate.results import Row
from pairstill.report.charts import Chart, Line

RECALL = "mean recall on the test split, %"


def on_disk(rows: Iterable[Row]) -> list[Row]:
    """Return the rows whose bytes on disk are known, of one protocol: the first."""
    known = [row for row in rows if row.disk_bytes]
    return [row for row in known if row.protocol == known[0].protocol]


def by_encoder(results: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Return the mean recall over students by text encoder, and by image tower.

    Encoders go by their names alone, unless several have one name, such as one tower at two sizes.

    Args:
        results: of students with other encoders, one mapping for each.
    """
    results = list(results)
    texts, images = (_names(result[side] for result in results) for side in ("text", "image"))
    found: dict[str, dict[str, list[float]]] = {}
    for result in results:
        of_text = found.setdefault(texts[result["text"]], {})
        of_text.setdefault(images[result["image"]], []).append(result["mean_recall"])
    return {text: {image: mean(recalls) for image, recalls in of.items()} for text, of in found.items()}


def _names(encoders: Iterable[str]) -> dict[str, str]:
    """Return what each encoder is called: its short name if no other one has that, too."""
    different = dict.fromkeys(encoders)
    of_name = Counter(map(short, different))
    return {encoder: short(encoder) if of_name[short(encoder)] == 1 else encoder for encoder in different}


def short(encoder: str) -> str:
    """Return an encoder's name without its weights and size.

    Example:
        >>> short("resnet18 (a.safetensors, 64 px)")
        'resnet18'
    """
    return encoder.partition(" (")[0]


def cost_charts(rows: Sequence[Row], crossed: Sequence[Mapping[str, Any]]) -> list[Chart]:
    """Return what a run's page draws of its results: recall by bytes on disk, and by encoder, where it is measured.

    Args:
        rows: of the run.
        crossed: results of students with other encoders.
    """
    charts = []
    if len(known := on_disk(rows)) > 1:
        lines = tuple(Line(row.title, ((float(row.disk_bytes or 0), row.mean),)) for row in known)
        charts.append(Chart("Recall by bytes on disk", "bytes on disk", RECALL, lines, "bytes"))
    recalls = by_encoder(crossed)
    if images := tuple(dict.fromkeys(image for of_text in recalls.values() for image in of_text)):
        lines = tuple(
            Line(text, tuple((float(images.index(image)), recall) for image, recall in of_text.items()))
            for text, of_text in recalls.items()
        )
        charts.append(Chart("Recall by the student's encoders", "image tower", RECALL, lines, "names", images))
    return charts
