"""Render the JSON reports of `pairstill bench` in this folder into the tables of ../RESULTS.md.

pairstill bench frozen --threads 1 --json > benchmarks/engine/frozen.json
python benchmarks/engine/render.py
"""

import json
from pathlib import Path

from pairstill.tools.bench.measure import BenchReport, BenchRow
from pairstill.tools.bench.table import bench_markdown

HERE = Path(__file__).parent
PAGE = HERE.parent / "RESULTS.md"

page = PAGE.read_text(encoding="utf-8")
for path in sorted(HERE.glob("*.json")):
    found = json.loads(path.read_text(encoding="utf-8"))
    report = BenchReport(**{**found, "rows": tuple(BenchRow(**row) for row in found["rows"])})
    mark = f"<!-- {path.stem} -->"
    before, _, after = page.split(mark)
    measured = f"`{report.command}`, commit {(report.commit or '')[:7]}\n\n{bench_markdown(report)}"
    page = f"{before}{mark}\n{measured}{mark}{after}"
PAGE.write_text(page, encoding="utf-8")
