"""The page that leads from the paper's numbers to commands."""

import re
from pathlib import Path

from pairstill.tools.reproduce.paper import read_tables

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reproducing.md").read_text(encoding="utf-8")


def test_settings_that_it_names_are_there():
    named = set(re.findall(r"configs/[\w/.]*\w", PAGE))
    assert len(named) > 8
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_every_table_of_the_paper_has_its_line():
    tables = PAGE[PAGE.index("## Tables") : PAGE.index("## Figures")]
    lines = re.findall(r"^\| ([\d, ]+) \| [^|]+ \|([^|]*)\|", tables, re.MULTILINE)
    rows = {
        number: count.split()[0] if count.strip() else "" for numbers, count in lines for number in numbers.split(", ")
    }
    assert set(map(str, range(1, 20))) <= rows.keys()
    for table in read_tables(ROOT / "configs" / "paper"):
        assert int(rows[table.name.removeprefix("table")]) == len({row.settings for row in table.rows} - {None})


def test_the_example_of_a_row_is_the_row():
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert example == (ROOT / "configs/paper/table4/flickr30k_4_st.yaml").read_text(encoding="utf-8")
