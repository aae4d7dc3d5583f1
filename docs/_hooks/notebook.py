"""The page In Python as a notebook: `python docs/_hooks/notebook.py` writes docs/tour.ipynb from docs/python.md."""

import json
import re
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[1]
PAGE, NOTEBOOK = DOCS / "python.md", DOCS / "tour.ipynb"
CODE = re.compile(r"```python\n(.*?)```\n?", re.DOTALL)


def notebook(page: str) -> dict[str, Any]:
    """Return a page's text and its Python examples as the cells of a notebook (nbformat 4.5).

    Args:
        page: the page, in Markdown; its links to other pages lose their targets, which a notebook does not have.
    """
    cells: list[dict[str, Any]] = []

    def add(kind: str, text: str) -> None:
        if text.strip():
            code = {"execution_count": None, "outputs": []} if kind == "code" else {}
            lines = text.strip("\n").splitlines(keepends=True)
            cells.append({"cell_type": kind, "id": f"cell-{len(cells)}", "metadata": {}, "source": lines, **code})

    for number, part in enumerate(CODE.split(page)):
        add("code", part) if number % 2 else add("markdown", re.sub(r"\[([^]]+)\]\([\w/#.-]+\)", r"\1", part))
    language = {"name": "python"}
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {
        "cells": cells,
        "metadata": {"kernelspec": kernel, "language_info": language},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def written() -> str:
    """Return the notebook of the page as it is now, as its file holds it."""
    return json.dumps(notebook(PAGE.read_text(encoding="utf-8")), indent=1) + "\n"


if __name__ == "__main__":
    NOTEBOOK.write_text(written(), encoding="utf-8")
