"""Render `transfer.jsonl`, the results of `pairstill reproduce transfer`, into the tables of TRANSFER.md.

python benchmarks/flickr8k/transfer.py [RESULTS]   # RESULTS: a results.jsonl that takes its place first
"""

import json
import sys
from pathlib import Path
from typing import Any

from pairstill.report.figures import Cell, drawing, save_figure, series_style
from pairstill.tools.reproduce.transfer import FULL, KINDS, SIZES, TEXTS, TOWERS
from pairstill.tools.reproduce.transfer_page import recalls_of, transfer_tables

HERE = Path(__file__).parent
RESULTS, PAGE, MARK = HERE / "transfer.jsonl", HERE / "TRANSFER.md", "<!-- transfer -->"


def draw(lines: list[dict[str, Any]]) -> None:
    """Draw the share of each tower's own full data by pairs, a panel for each tower, with MiniLM."""
    text, data = TEXTS[0], list[dict[str, Cell]]()
    recalls = recalls_of(lines, text)
    with drawing(9.6, 3.6) as figure:
        for axes, tower in zip(figure.subplots(1, len(TOWERS), sharey=True), TOWERS, strict=True):
            full = recalls.get((FULL, tower))
            for number, kind in enumerate(KINDS):
                found = {pairs: recalls.get((f"{kind.name}/{pairs}", tower)) for pairs in SIZES}
                shares = {pairs: 100 * mean / full for pairs, mean in found.items() if mean and full}
                if shares:
                    axes.plot(list(shares), list(shares.values()), label=kind.title, **series_style(number))
                data += [
                    {"tower": tower, "kind": kind.name, "pairs": p, "share": round(s, 2)} for p, s in shares.items()
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


def main() -> None:
    """Render everything."""
    if len(sys.argv) > 1:
        RESULTS.write_text(Path(sys.argv[1]).read_text(encoding="utf-8"), encoding="utf-8")
    lines = [json.loads(line) for line in RESULTS.read_text(encoding="utf-8").splitlines()]
    before, _, after = PAGE.read_text(encoding="utf-8").split(MARK)
    tables = "\n".join(transfer_tables(lines))
    PAGE.write_text(f"{before}{MARK}\n{tables}{MARK}{after}", encoding="utf-8")
    draw(lines)


if __name__ == "__main__":
    main()
