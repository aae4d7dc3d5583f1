"""Render `results.jsonl`, one object per student, into the tables of RESULTS.md.

python benchmarks/flickr8k/render.py
"""

import json
from pathlib import Path
from typing import Any

from pairstill.methods import METHODS
from pairstill.report.tables import markdown, summarise

HERE = Path(__file__).parent
TABLES = ("frozen", "short", "trainable")
ORDER = [method.name for method in METHODS]


def config_of(result: dict[str, Any]) -> str:
    """Return the config's name, such as frozen_100."""
    return result.get("row") or Path(result["config"]).parent.name


def place(result: dict[str, Any]) -> tuple[int, int]:
    """Return what rows are sorted by: the config's pairs, then the method."""
    method = result["method"]
    return int(config_of(result).rpartition("_")[2]), ORDER.index(method) if method in ORDER else len(ORDER)


results = [json.loads(line) for line in (HERE / "results.jsonl").read_text(encoding="utf-8").splitlines()]
page = (HERE / "RESULTS.md").read_text(encoding="utf-8")
for table in TABLES:
    mark = f"<!-- {table} -->"
    rows = summarise(sorted((r for r in results if config_of(r).startswith(table)), key=place))
    before, _, after = page.split(mark)
    page = f"{before}{mark}\n{markdown(rows)}{mark}{after}"
(HERE / "RESULTS.md").write_text(page, encoding="utf-8")
