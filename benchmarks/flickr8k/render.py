"""Render `results.jsonl`, one object per student, into the table of RESULTS.md; run from this folder's checkout.

python benchmarks/flickr8k/render.py
"""

import json
from pathlib import Path

from pairstill.report.tables import markdown, summarise

HERE = Path(__file__).parent
MARK = "<!-- table -->"

results = [json.loads(line) for line in (HERE / "results.jsonl").read_text(encoding="utf-8").splitlines()]
before, _, after = (HERE / "RESULTS.md").read_text(encoding="utf-8").split(MARK)
(HERE / "RESULTS.md").write_text(f"{before}{MARK}\n{markdown(summarise(results))}{MARK}{after}", encoding="utf-8")
