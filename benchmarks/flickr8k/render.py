"""Render `results.jsonl`, one object per student, into the tables of RESULTS.md, its sentences and the figure `recall`.

python benchmarks/flickr8k/render.py          # also the sentence of the README
python benchmarks/flickr8k/render.py RESULTS  # first takes in rows of `pairstill reproduce flickr8k`, of one commit
"""

import json
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from pairstill.evaluate.results import Row, summarise
from pairstill.methods import METHODS, find_method
from pairstill.methods.base import AUTO, FEATURES
from pairstill.report.figures import MUTED, Cell, drawing, save_figure, series_style
from pairstill.report.tables import markdown

HERE = Path(__file__).parent
PAGE, README = HERE / "RESULTS.md", HERE.parents[1] / "README.md"
TABLES = {
    **{"long": "long", "frozen": "frozen", "auto": "frozen", "short": "frozen"},
    **{"residual": "residual", "trainable": "trainable"},
}
"""The tables, one for each length of distillation, and those whose full data their shares are of."""
SYMMETRIC = str(find_method("lors").frozen_title)
LINEAR = ("frozen", "short")
"""Tables with linear heads, which blending is of no use to; no row of theirs is measured with it any more."""
ON_FEATURES = ("short", "residual")
"""Tables of before results named themselves, whose methods that match trajectories do most steps on features."""
ORDER = [method.name for method in METHODS]
SIZES = (100, 200, 500)


@dataclass(frozen=True)
class Curve:
    """A curve of the figure: rows of one name and one length.

    Attributes:
        title: the rows'.
        table: theirs, which is their length.
        label: what the legend says of it.
    """

    title: str
    table: str
    label: str


AUTO_PHASES = Curve(f"PTM-ST{AUTO}", "auto", f"PTM-ST{AUTO}")
RANDOM = Curve("Random", "frozen", "Random")
DRAWN = (
    AUTO_PHASES,
    Curve("PTM-ST", "frozen", "PTM-ST, on pixels"),
    Curve(f"{SYMMETRIC}{FEATURES}", "short", f"{SYMMETRIC}, short"),
    Curve(f"MTT-VL{FEATURES}", "short", "MTT-VL, short"),
    Curve("Herding", "frozen", "Herding"),
    RANDOM,
)
FULL = Curve("Full data", "frozen", "all pairs")
SAME_FULL = "full/mobilenetv1_075/minilm"
"""The row of `pairstill reproduce transfer` that is full data with the encoders of this table."""


@dataclass(frozen=True)
class Point:
    """A row as a point of a curve.

    Attributes:
        pairs: its pairs.
        mean: its mean recall.
        std: over its students, 0 for a single one.
        commits: that measured them, short, in order.
    """

    pairs: int
    mean: float
    std: float
    commits: tuple[str, ...]


def read(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a file of one a line."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def config_of(result: dict[str, Any]) -> str:
    """Return the config's name, such as frozen_100."""
    return result.get("row") or Path(result["config"]).parent.name


def table_of(result: dict[str, Any]) -> str:
    """Return the name of the table that a result is in, such as frozen."""
    return config_of(result).rpartition("_")[0]


def place(result: dict[str, Any]) -> tuple[int, int]:
    """Return what rows are sorted by: the config's pairs, then the method."""
    method = result["method"]
    return int(config_of(result).rpartition("_")[2]), ORDER.index(method) if method in ORDER else len(ORDER)


def titled(result: dict[str, Any]) -> dict[str, Any]:
    """Return a result with its row's title; those of before results named themselves are named here."""
    table = table_of(result)
    if "title" in result or result["method"] not in ORDER or table == "trainable":
        return result
    method = find_method(result["method"])
    title = method.frozen_title or method.title
    if method.name in ("repblend", "ptm_st_blend") and table in LINEAR:
        title += ", linear heads"
    if method.matches_trajectories and table in (*ON_FEATURES, "auto"):
        title += AUTO if table == "auto" else FEATURES
    return {**result, "title": title}


def rows_of(results: Sequence[dict[str, Any]], table: str) -> list[Row]:
    """Return a table's rows; full data is among them once, where its shares come from."""
    of_table = [r for r in results if table_of(r) == (TABLES[table] if r["method"] == "full" else table)]
    return summarise(map(titled, sorted(of_table, key=place))) if any(r["method"] != "full" for r in of_table) else []


def points_of(results: Sequence[dict[str, Any]], curve: Curve) -> list[Point]:
    """Return the points of a curve, by size."""
    found: dict[int, list[dict[str, Any]]] = {}
    for result in map(titled, results):
        title = result.get("title") or {"random": "Random", "full": "Full data"}.get(result["method"])
        if (title, table_of(result), result["protocol"]) == (curve.title, curve.table, "strict"):
            found.setdefault(result["num_pairs"], []).append(result)
    return [_point(pairs, found[pairs]) for pairs in sorted(found)]


def _point(pairs: int, results: Sequence[dict[str, Any]]) -> Point:
    means = [result["mean_recall"] for result in results]
    commits = tuple(sorted({result["commit"][:7] for result in results}))
    return Point(pairs, mean(means), stdev(means) if len(means) > 1 else 0.0, commits)


def lines_of(points: Sequence[Point]) -> Iterator[tuple[Point, Point]]:
    """Yield neighbouring points that a line may join: both were measured at one commit, the same."""
    for left, right in zip(points, points[1:], strict=False):
        if left.commits == right.commits and len(left.commits) == 1:
            yield left, right


def listed(words: Sequence[Any]) -> str:
    """Return words as a list in a sentence.

    Example:
        >>> listed([99, 199, 499])
        '99, 199 and 499'
    """
    *first, last = map(str, words)
    return f"{', '.join(first)} and {last}" if first else last


def sentence(results: Sequence[dict[str, Any]]) -> str:
    """Return what the README says of the table, in numbers of the table."""
    auto, random, (full,) = (points_of(results, curve) for curve in (AUTO_PHASES, RANDOM, FULL))
    shares = [listed([f"{100 * point.mean / full.mean:.0f}" for point in points]) for points in (auto, random)]
    pairs = [listed([f"{point.pairs:,}" for point in points]) for points in (auto, random)]
    commits = sorted({commit for point in (*auto, *random, full) for commit in point.commits})
    said = (
        f"With the frozen towers that they were made with, {pairs[0]} distilled pairs "
        f"of Flickr8k ({AUTO_PHASES.title}) teach a retrieval model "
        f"{shares[0]} % of what {full.pairs:,} real ones do; {pairs[1]} random pairs teach {shares[1]} % "
        f"({'commit' if len(commits) == 1 else 'commits'} {listed(commits)})."
    )
    return textwrap.fill(said, 120)


def caveat(results: Sequence[dict[str, Any]], transfer: Sequence[dict[str, Any]]) -> str:
    """Return what today's choice of rates gives full data, where the sentence is of full data by an older one.

    Args:
        results: the results.
        transfer: those of `transfer.jsonl`, among them full data with the same encoders.
    """
    means = [result["mean_recall"] for result in transfer if result["row"] == SAME_FULL]
    if not means or any("rates" in r for r in results if r["method"] == "full" and table_of(r) == FULL.table):
        return ""
    (full,), auto = points_of(results, FULL), points_of(results, AUTO_PHASES)
    shares = listed([f"{100 * point.mean / mean(means):.0f}" for point in auto])
    said = (
        f"The rates of full data are from before each side had a choice of its own: with one, full data has "
        f"{mean(means):.1f} in place of {full.mean:.1f}, of which the distilled pairs, as they were measured, have "
        f"{shares} %."
    )
    return textwrap.fill(said, 120)


def pages(results: Sequence[dict[str, Any]]) -> dict[Path, str]:
    """Return RESULTS.md and the README as they are with these results."""
    page, readme = (path.read_text(encoding="utf-8") for path in (PAGE, README))
    for table in TABLES:
        rows = rows_of(results, table)
        page = _between(page, table, markdown(rows) if rows else "Not measured yet.\n")
    said = filter(None, (sentence(results), caveat(results, read(HERE / "transfer.jsonl"))))
    shares = "".join(f"{paragraph}\n" for paragraph in said)
    return {PAGE: _between(page, "shares", shares), README: _between(readme, "shares", shares)}


def _between(page: str, name: str, content: str) -> str:
    """Return a page with other content between the two marks of a name."""
    mark = f"<!-- {name} -->"
    before, _, after = page.split(mark)
    return f"{before}{mark}\n{content}{mark}{after}"


def figure_data(results: Sequence[dict[str, Any]]) -> list[dict[str, Cell]]:
    """Return the figure's numbers: each point with the name, the length and the commits of its rows."""
    return [
        {
            "method": curve.title,
            "table": curve.table,
            "pairs": point.pairs,
            "mean_recall": round(point.mean, 2),
            "std": round(point.std, 2),
            "commits": " ".join(point.commits),
        }
        for curve in (FULL, *DRAWN)
        for point in points_of(results, curve)
    ]


def draw_recall(results: Sequence[dict[str, Any]]) -> None:
    """Draw mean recall by pairs, with the spread over students; lines join what one commit measured."""
    with drawing(7.2, 4.0) as figure:
        axes = figure.subplots()
        (full,) = points_of(results, FULL)
        axes.axhline(full.mean, color=MUTED, linestyle="--", linewidth=1.2)
        axes.annotate(
            f"all {full.pairs:,} pairs", (SIZES[-1], full.mean), (0, 4), textcoords="offset points", ha="right"
        )
        for number, curve in enumerate(DRAWN):
            points, style = points_of(results, curve), series_style(number)
            sizes, means = [point.pairs for point in points], [point.mean for point in points]
            axes.errorbar(
                sizes, means, [p.std for p in points], label=curve.label, capsize=2.5, **{**style, "linestyle": "none"}
            )
            for left, right in lines_of(points):
                axes.plot([left.pairs, right.pairs], [left.mean, right.mean], **{**style, "marker": ""})
        axes.set_xscale("log")
        axes.set_xticks(SIZES, [str(size) for size in SIZES])
        axes.minorticks_off()
        axes.set_ylim(0)
        axes.set_xlabel("pairs, or as many bytes")
        axes.set_ylabel("mean recall on test, %")
        axes.legend(ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    save_figure(figure, HERE / "figures" / "recall", figure_data(results))


def taken_in(known: Sequence[dict[str, Any]], new: Sequence[dict[str, Any]]) -> tuple[list[Any], list[Any]]:
    """Return the results with new ones in the place of those of the same rows, and those that are replaced.

    Raises:
        SystemExit: the new ones are not of one commit, or lack their rows.
    """
    commits = {result["commit"] for result in new}
    if len(commits) != 1 or not all("row" in result for result in new):
        raise SystemExit(f"give the results.jsonl of rows that one commit measured; these are of {len(commits)}")
    rows = {(config_of(result), result["method"]) for result in new}
    replaced = [result for result in known if (config_of(result), result["method"]) in rows]
    return [result for result in known if result not in replaced] + list(new), replaced


def main() -> None:
    """Take in new results, if there are any, and render everything."""
    path, history = HERE / "results.jsonl", HERE / "history.jsonl"
    results = read(path)
    if sys.argv[1:]:
        results, replaced = taken_in(results, read(Path(sys.argv[1])))
        for file, lines in ((history, [*read(history), *replaced]), (path, results)):
            file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    for page, text in pages(results).items():
        page.write_text(text, encoding="utf-8")
    draw_recall(results)


if __name__ == "__main__":
    main()
