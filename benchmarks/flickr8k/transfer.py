"""Render `transfer.jsonl`, the results of `pairstill reproduce transfer`, into the tables of TRANSFER.md and a figure.

python benchmarks/flickr8k/transfer.py           # also the table of the README
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


def table(recalls: Recalls) -> str:
    """Return what sets of 199 pairs give users of their own towers, and of another, for the README."""
    lines = [
        "What 199 pairs give a student, in percent of what all pairs teach the same student:",
        "",
        "| set, and the towers that it was made with | MobileNet | EfficientNet-Lite0 | EfficientNet-Lite1 |",
        "| --- | ---: | ---: | ---: |",
    ]
    for kind in KINDS:
        if ((row := f"{kind.name}/199"), MOBILENET) in recalls:
            cells = " | ".join(f"{share(recalls, row, tower):.0f} %" for tower in (MOBILENET, LITE0, LITE1))
            lines.append(f"| {kind.title} | {cells} |")
    text = (
        "So take learned pixels for the towers that a set is made with (`--towers` names more than one), and kept "
        "photos (`--method ptm_st_kept`: real photos with learned texts) for users of others. "
        "[Measured](benchmarks/flickr8k/TRANSFER.md), with what other text encoders get."
    )
    return "\n".join([*lines, "", textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)])


def read(path: Path) -> list[dict[str, Any]]:
    """Return the results of a file.

    Raises:
        SystemExit: they are not of one commit.
    """
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    if len(commits := {line["commit"] for line in lines}) != 1:
        raise SystemExit(f"{path} holds results of {len(commits)} commits; a table is of one: measure all rows at one")
    return lines


def pages(lines: list[dict[str, Any]]) -> dict[Path, str]:
    """Return TRANSFER.md and the README as they are with these results."""
    recalls = recalls_of(lines, TEXTS[0])
    return {
        PAGE: _between(PAGE, "\n".join(transfer_tables(lines))),
        README: _between(README, table(recalls)),
    }


def _between(path: Path, content: str) -> str:
    """Return a page with other content between its marks."""
    before, _, after = path.read_text(encoding="utf-8").split(MARK)
    return f"{before}{MARK}\n{content}\n{MARK}{after}"


def main() -> None:
    """Render everything."""
    lines = read(Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS)
    RESULTS.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    for page, text in pages(lines).items():
        page.write_text(text, encoding="utf-8")
    draw(recalls_of(lines, TEXTS[0]))


if __name__ == "__main__":
    main()
