"""Benchmarks as tables: one row for each variant, ratios to the first."""

from pairstill.core.formatting import human_bytes
from pairstill.tools.bench.measure import BenchReport, BenchRow, Value


def header(report: BenchReport) -> list[str]:
    """Return the titles of the columns."""
    extra = dict.fromkeys(key for row in report.rows for key in row.values)
    return ["variant", "seconds", "ratio", "peak memory", *(key.replace("_", " ") for key in extra)]


def bench_cells(report: BenchReport, row: BenchRow) -> list[str]:
    """Return the cells of a row, in the order of `header`."""
    extra = dict.fromkeys(key for other in report.rows for key in other.values)
    return [
        row.name,
        "" if row.seconds is None else f"{row.seconds:.3g}",
        "" if row.ratio is None else f"{row.ratio:.2f} x",
        "" if row.peak_bytes is None else human_bytes(row.peak_bytes),
        *(_shown(key, row.values.get(key)) for key in extra),
    ]


def bench_markdown(report: BenchReport) -> str:
    """Return the rows as a Markdown table."""
    titles = header(report)
    lines = ["| " + " | ".join(titles) + " |", "|" + " --- |" + " ---: |" * (len(titles) - 1)]
    lines += ["| " + " | ".join(bench_cells(report, row)) + " |" for row in report.rows]
    return "\n".join(lines) + "\n"


def _shown(column: str, value: Value) -> str:
    if value is None:
        return ""
    if column.endswith("bytes"):
        return human_bytes(int(value))
    if isinstance(value, float):
        # a cosine of 0.9999999 must not look like 1
        return f"{value:.7f}" if column == "cosine" else f"{value:.3g}"
    return str(value)
