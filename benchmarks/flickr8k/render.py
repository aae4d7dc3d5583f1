"""Render `results.jsonl`, one object per student, into the tables of RESULTS.md.

python benchmarks/flickr8k/render.py
"""

import json
from pathlib import Path

from pairstill.report.tables import markdown, summarise

HERE = Path(__file__).parent
TABLES = ("frozen", "trainable")

results = [json.loads(line) for line in (HERE / "results.jsonl").read_text(encoding="utf-8").splitlines()]
page = (HERE / "RESULTS.md").read_text(encoding="utf-8")
for table in TABLES:
    mark = f"<!-- {table} -->"
    rows = summarise(result for result in results if Path(result["config"]).parent.name.startswith(table))
    before, _, after = page.split(mark)
    page = f"{before}{mark}\n{markdown(rows)}{mark}{after}"
(HERE / "RESULTS.md").write_text(page, encoding="utf-8")
