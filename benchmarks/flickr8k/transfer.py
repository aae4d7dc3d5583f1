"""Render `transfer.jsonl`, the results of `pairstill reproduce transfer`, into the tables of TRANSFER.md and a figure.

python benchmarks/flickr8k/transfer.py           # also the sentence of the README
python benchmarks/flickr8k/transfer.py RESULTS   # first takes a results.jsonl of that command in its place
"""

import json
import sys
import textwrap
from pathlib import Path
from typing import Any

from pairstill.report.figures import Cell, drawing, save_figure, series_style
from pairstill.tools.reproduce.transfer import FULL, KINDS, LITE0, LITE1, MOBILENET, SIZES, TEXTS, TOWERS
from pairstill.tools.reproduce.transfer_page import recalls_of, transfer_tables

HERE = Path(__file__).parent
RESULTS, PAGE, README = HERE / "transfer.jsonl", HERE / "TRANSFER.md", HERE.parents[1] / "README.md"
MARK = "<!-- transfer -->"
Recalls = dict[tuple[str, str], float]


def share(recalls: Recalls, row: str, tower: str) -> float:
    """Return what a set gives students behind a tower, in percent of their own full data."""
    return 100 * recalls[row, tower] / recalls[FULL, tower]


def draw(recalls: Recalls) -> None:
    """Draw the share of each tower's own full data by pairs, a panel for each tower."""
    data = list[dict[str, Cell]]()
    with drawing(9.6, 3.8) as figure:
        for axes, tower in zip(figure.subplots(1, len(TOWERS), sharey=True), TOWERS, strict=True):
            for number, kind in enumerate(KINDS):
                sizes = [pairs for pairs in SIZES if (f"{kind.name}/{pairs}", tower) in recalls]
                shares = [share(recalls, f"{kind.name}/{pairs}", tower) for pairs in sizes]
                if shares:
                    axes.plot(sizes, shares, label=kind.title, **series_style(number))
                data += [
                    {"tower": tower, "set": kind.name, "pairs": pairs, "share": round(found, 2)}
                    for pairs, found in zip(sizes, shares, strict=True)
                ]
            axes.set_title(tower)
            axes.set_xscale("log")
            axes.set_xticks(SIZES, [str(pairs) for pairs in SIZES])
            axes.minorticks_off()
            axes.set_xlabel("pairs")
            axes.set_ylim(0, 100)
        figure.axes[0].set_ylabel("% of the tower's own full data")
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3)
    save_figure(figure, HERE / "figures" / "transfer", data)


def sentence(recalls: Recalls) -> str:
    """Return what a set that was made with one tower, or two, gives users of others, for the README."""

    def of(row: str, *towers: str) -> str:
        return " and ".join(f"{share(recalls, row, tower):.0f}" for tower in towers)

    own, others = of("kept_mobilenet/199", MOBILENET), of("kept_mobilenet/199", LITE0, LITE1)
    text = (
        "A set made with one image tower teaches others, too, and one made with two teaches others better. 199 real "
        "photos that are kept, with texts, similarities and rates that were learned with MobileNet, give MobileNet "
        f"{own} % of what it learns from all pairs, and EfficientNet-Lite0 and -Lite1, which had no part in it, "
        f"{others} %"
    )
    for kind, made in (("kept_both", "Learned with MobileNet and Lite0, they"), ("pixels_both", "199 pairs of pixels")):
        if (f"{kind}/199", MOBILENET) in recalls:
            both, unseen = of(f"{kind}/199", MOBILENET, LITE0), of(f"{kind}/199", LITE1)
            text += f". {made} give these {both} %, and Lite1 {unseen} %"
    text += " ([measured](benchmarks/flickr8k/TRANSFER.md))."
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


def put(path: Path, content: str) -> None:
    """Put content between the marks of a page."""
    before, _, after = path.read_text(encoding="utf-8").split(MARK)
    path.write_text(f"{before}{MARK}\n{content}\n{MARK}{after}", encoding="utf-8")


def main() -> None:
    """Render everything."""
    if len(sys.argv) > 1:
        RESULTS.write_text(Path(sys.argv[1]).read_text(encoding="utf-8"), encoding="utf-8")
    lines: list[dict[str, Any]] = [json.loads(line) for line in RESULTS.read_text(encoding="utf-8").splitlines()]
    recalls = recalls_of(lines, TEXTS[0])
    put(PAGE, "\n".join(transfer_tables(lines)))
    put(README, sentence(recalls))
    draw(recalls)


if __name__ == "__main__":
    main()
