from pairstill.tools.bench.measure import BenchReport, BenchRow
from pairstill.tools.bench.table import bench_cells, bench_markdown, header

ROWS = (
    BenchRow("slow", 2.0, 1.0, 1_500_000, {"cosine": 0.99999994, "all_bytes": 2_000}),
    BenchRow("fast", 0.5, 0.25, None, {"cosine": 1.0, "relative_error": 1.23e-7}),
)
REPORT = BenchReport(
    benchmark="hypergradient",
    command="pairstill bench hypergradient",
    commit=None,
    hardware={"cores": 2},
    versions={},
    settings={},
    rows=ROWS,
)


def test_columns_are_all_that_any_row_tells():
    assert header(REPORT) == ["variant", "seconds", "ratio", "peak memory", "cosine", "all bytes", "relative error"]


def test_cells_leave_out_what_a_row_does_not_tell():
    assert bench_cells(REPORT, ROWS[0]) == ["slow", "2", "1.00 x", "1.5 MB", "0.9999999", "2.0 kB", ""]
    assert bench_cells(REPORT, ROWS[1]) == ["fast", "0.5", "0.25 x", "", "1.0000000", "", "1.23e-07"]


def test_time_may_be_absent():
    assert bench_cells(REPORT, BenchRow("bytes only", None, None, 10, {}))[1:4] == ["", "", "10 B"]


def test_markdown_has_a_line_for_each_row():
    lines = bench_markdown(REPORT).splitlines()
    assert len(lines) == 4 and lines[1].count("---") == 7 and lines[3].startswith("| fast | 0.5 |")


def test_json_holds_everything():
    assert REPORT.to_json()["rows"][1]["values"]["relative_error"] == 1.23e-7
