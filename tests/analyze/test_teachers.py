"""Recalls of teachers and students as rows and in sum, by hand."""

import pytest

from pairstill.analyze.teachers import StudentRecall, TeachersAndStudents, recall_rows, summarise_recalls

MEASURED = TeachersAndStudents(
    teachers=[[1.0, 20.0, 30.0], [3.0, 22.0, 28.0]],
    students={0: [StudentRecall(10.0, 9.0), StudentRecall(12.0, 8.0)], 1: [StudentRecall(11.0, 2.0)]},
)


def test_rows_are_means_and_deviations_over_experts_and_students() -> None:
    rows = {(row["who"], row["epoch"]): row for row in recall_rows(MEASURED)}
    assert rows["teacher", 2]["validation_mean_recall"] == 29.0 and rows["teacher", 2]["deviation"] == 1.0
    assert rows["student, best epoch", 0]["validation_mean_recall"] == 11.0
    assert rows["student, last epoch", 0]["validation_mean_recall"] == 8.5
    assert rows["student, best epoch", 1]["runs"] == 1 and rows["student, best epoch", 1]["deviation"] == 0.0


def test_the_summary_names_the_best_epochs() -> None:
    found = summarise_recalls(MEASURED)
    assert (found["best_teacher_epoch"], found["best_teacher"], found["last_teacher"]) == (2, 29.0, 29.0)
    assert (found["best_last_start"], found["best_student"]) == (0, 11.0)
    assert found["student_of_the_latest_start"] == pytest.approx(11.0)
