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
from pairstill.tools.sweep.run import SWEEP, sweep
from pairstill.tools.sweep.settings import QueueConfig, SweepConfig


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
