"""The picture of teachers and students by epoch."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from pairstill.analyze.teachers import TeachersAndStudents, recall_rows
from pairstill.report.figures import Cell, drawing, save_figure, series_style

LABELS = {
    "teacher": "teacher after this epoch",
    "student, best epoch": "student at its best epoch; starts up to this epoch",
    "student, last epoch": "the same student after its last epoch",
}


def draw_teachers(measured: TeachersAndStudents, folder: Path) -> None:
    """Write the figure `recall` (Figure 2a) into a folder."""
    rows = list(recall_rows(measured))
    save_figure(_recall(rows), folder / "recall", rows)


def _recall(rows: list[dict[str, Cell]]) -> Figure:
    with drawing(6.4, 4.0) as figure:
        axes = figure.subplots()
        for number, (who, label) in enumerate(LABELS.items()):
            mine: Any = [row for row in rows if row["who"] == who]
            axes.errorbar(
                [row["epoch"] for row in mine],
                [row["validation_mean_recall"] for row in mine],
                [row["deviation"] for row in mine],
                label=label,
                capsize=2.5,
                elinewidth=1,
                linestyle=":" if who.endswith("last epoch") else "-",
                **series_style(number),
            )
        axes.set_xticks(range(max(row["epoch"] for row in rows if isinstance(row["epoch"], int)) + 1))
        axes.set_ylim(bottom=0)
        axes.set_xlabel("epoch of the teacher; last start epoch T+ of the distillation")
        axes.set_ylabel("mean recall on validation, %")
        axes.set_title("Teachers by epoch, and students of starts up to it")
        axes.legend()
    return figure
