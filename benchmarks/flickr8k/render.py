"""Render `results.jsonl`, one object per student, into the tables of RESULTS.md and the figure `figures/recall`.

python benchmarks/flickr8k/render.py
"""

import json
from pathlib import Path
from typing import Any

from pairstill.evaluate.results import Row, summarise
from pairstill.methods import METHODS, find_method
from pairstill.report.figures import MUTED, Cell, drawing, save_figure, series_style
from pairstill.report.tables import markdown

HERE = Path(__file__).parent
TABLES = {"frozen": "frozen", "auto": "frozen", "short": "frozen", "residual": "residual", "trainable": "trainable"}
"""The tables, and the configs whose full data their shares are of."""
SYMMETRIC = str(find_method("lors").frozen_title)
LINEAR = ("frozen", "short")
"""Configs with linear heads, which blending is of no use to; no row of theirs is measured with it any more."""
DRAWN = ("Full data", "PTM-ST", SYMMETRIC, "MTT-VL", "Herding", "Random")
ORDER = [method.name for method in METHODS]


def config_of(result: dict[str, Any]) -> str:
    """Return the config's name, such as frozen_100."""
    return result.get("row") or Path(result["config"]).parent.name


def place(result: dict[str, Any]) -> tuple[int, int]:
    """Return what rows are sorted by: the config's pairs, then the method."""
    method = result["method"]
    return int(config_of(result).rpartition("_")[2]), ORDER.index(method) if method in ORDER else len(ORDER)


def titled(result: dict[str, Any]) -> dict[str, Any]:
    """Return a result with its row's title, where that is not the method's."""
    method, config = result["method"], config_of(result)
    if method == "lors" and not config.startswith("trainable"):
        return {**result, "title": SYMMETRIC}
    if method in ("repblend", "ptm_st_blend") and config.startswith(LINEAR):
        return {**result, "title": f"{find_method(method).title}, linear heads"}
    return result


def rows_of(results: list[dict[str, Any]], table: str) -> list[Row]:
    """Return a table's rows; full data is among them once, where its shares come from."""
    whole = TABLES[table]
    of_table = [r for r in results if config_of(r).startswith(table if r["method"] != "full" else whole)]
    return summarise(map(titled, sorted(of_table, key=place)))


def draw_recall(rows: list[Row]) -> None:
    """Draw the best row of each method and size as mean recall by pairs, with the spread over students."""
    best: dict[tuple[str, int], Row] = {}
    for row in rows:
        size = min((100, 200, 500), key=lambda pairs: abs(pairs - row.num_pairs))
        if row.title == "Full data" or abs(size - row.num_pairs) <= 1:
            key = (row.title, 0 if row.title == "Full data" else size)
            if key not in best or row.mean > best[key].mean:
                best[key] = row
    data: list[dict[str, Cell]] = []
    with drawing(7.2, 4.0) as figure:
        axes = figure.subplots()
        for number, title in enumerate(DRAWN):
            found = {size: row for (name, size), row in best.items() if name == title}
            sizes = sorted(found)
            means, spreads = [found[s].mean for s in sizes], [found[s].spread or 0.0 for s in sizes]
            if title == "Full data":
                axes.axhline(means[0], color=MUTED, linestyle="--", linewidth=1.2)
                axes.annotate(
                    f"all {found[0].num_pairs:,} pairs", (500, means[0]), (0, 4), textcoords="offset points", ha="right"
                )
            else:
                axes.errorbar(sizes, means, spreads, label=title, capsize=2.5, **series_style(number - 1))
            data += [
                {
                    "method": title,
                    "pairs": row.num_pairs,
                    "mean_recall": round(row.mean, 2),
                    "std": round(row.spread or 0, 2),
                }
                for row in (found[s] for s in sizes)
            ]
        axes.set_xscale("log")
        axes.set_xticks([100, 200, 500], ["100", "200", "500"])
        axes.minorticks_off()
        axes.set_ylim(0)
        axes.set_xlabel("pairs, or as many bytes")
        axes.set_ylabel("mean recall on test, %")
        axes.legend(ncols=len(DRAWN) - 1, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    save_figure(figure, HERE / "figures" / "recall", data)


def main() -> None:
    """Render everything."""
    results = [json.loads(line) for line in (HERE / "results.jsonl").read_text(encoding="utf-8").splitlines()]
    path = HERE / "RESULTS.md"
    page = path.read_text(encoding="utf-8")
    for table in TABLES:
        mark = f"<!-- {table} -->"
        before, _, after = page.split(mark)
        page = f"{before}{mark}\n{markdown(rows_of(results, table))}{mark}{after}"
    path.write_text(page, encoding="utf-8")
    draw_recall([row for table in ("frozen", "auto", "short") for row in rows_of(results, table)])


if __name__ == "__main__":
    main()
