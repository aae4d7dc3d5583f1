"""What was measured is kept exactly as long as it was measured as asked."""

from pathlib import Path

from pairstill.analyze.work import work_folder
from pairstill.config import RunConfig
from pairstill.run.folder import plain
from pairstill.storage import read_json, write_json

RUN = plain(RunConfig())


def test_work_is_kept_for_the_same_settings_wherever_they_run_and_emptied_for_others(tmp_path: Path) -> None:
    def kept(run: dict[str, object], about: dict[str, object]) -> bool:
        (work_folder(tmp_path, RUN, {"pairs": 1}) / "part").write_text("done")
        return (work_folder(tmp_path, run, about) / "part").is_file()

    assert kept(RUN, {"pairs": 1})
    assert kept({**RUN, "threads": 7, "device": "cuda"}, {"pairs": 1})
    assert not kept(RUN, {"pairs": 2})
    assert not kept({**RUN, "seed": 1}, {"pairs": 1})
    assert not kept({**RUN, "student": {**RUN["student"], "epochs": 3}}, {"pairs": 1})


def test_a_setting_that_did_not_exist_then_has_its_default(tmp_path: Path) -> None:
    work = work_folder(tmp_path, RUN, {})
    about = read_json(work / "about.json")
    del about["run"]["distill"]["blend"]
    write_json(work / "about.json", about)
    (work / "part").write_text("done")
    assert (work_folder(tmp_path, RUN, {}) / "part").is_file()
