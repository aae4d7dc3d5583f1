"""A sweep whose rows have runs already."""

from pathlib import Path

import pytest
import yaml
from rich.console import Console

from pairstill.cli.command import settings_from
from pairstill.core.errors import ConfigError
from pairstill.methods import with_method
from pairstill.run.folder import plain
from pairstill.storage import write_json
from pairstill.tools.sweep.rows import rows_of
from pairstill.tools.sweep.run import SWEEP, listing_of, queue_of, sweep
from pairstill.tools.sweep.settings import QueueConfig, SweepConfig
from pairstill.tools.sweep.state import RowState


def test_a_row_whose_run_has_other_settings_is_an_error_before_any_begins(tmp_path, program):
    settings = SweepConfig(grid=("distill.outer.lr_texts=1,2",), out=str(tmp_path / "out"))
    row = rows_of(settings, settings_from).rows[1]
    folder = Path(row.config.run_dir)
    (folder / "distillation").mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump({**plain(with_method(row.config)), "info_nce": "sum"}))
    write_json(tmp_path / "out" / SWEEP, settings.to_json())
    with pytest.raises(ConfigError) as caught:
        sweep(settings, QueueConfig(), settings_from, Console(quiet=True), program)
    assert str(caught.value).splitlines() == [
        f"lr_texts=2/seed0 was run with other settings; give another --out, or delete {folder}:",
        "  - info_nce: 'sum' before, 'mean' now",
    ]
    assert not (tmp_path / "out" / "queue").exists()
    rows = rows_of(settings, settings_from)
    first, second = listing_of(rows, queue_of(rows, tmp_path / "out", program))
    assert first == ("lr_texts=1", "0", "waiting", "", "")
    assert second[2] == "changed"
    assert second[4] == f"info_nce: 'sum' before, 'mean' now; give another --out, or delete {folder}"


def test_a_row_of_which_other_measurements_are_asked_for_says_so(tmp_path, program):
    def rows(students):
        return rows_of(SweepConfig(set=(f"evaluate.num_students={students}",), out=str(tmp_path)), settings_from)

    queue = queue_of(rows(2), tmp_path, program)
    (task,) = queue.tasks
    RowState("done", task.digest).save(queue.folder_of(task))
    (listed,) = listing_of(rows(3), queue_of(rows(3), tmp_path, program))
    assert listed[2] == "waiting" and listed[4].startswith("what is measured has changed since it was run")
