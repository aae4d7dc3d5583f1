"""A shared folder takes the same teachers again, and no others."""

import fcntl
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from pairstill.config import HeadsConfig, ImageConfig, RunConfig, TeacherConfig
from pairstill.core.errors import ArtifactError, ConfigError
from pairstill.storage.locks import LOCK
from pairstill.teachers.store import ABOUT, claim_folder, describe_teachers, find_folder, holds

TEACHERS = {"data": "abc", "settings": {"seed": 0, "rates": (0.1, 0.2)}}


def test_the_same_teachers_are_taken_again(tmp_path):
    folder = tmp_path / "teachers"
    assert claim_folder(folder, TEACHERS, (6, 8)) == (6, 8)
    assert claim_folder(folder, TEACHERS, (6, 8)) == (6, 8)
    assert claim_folder(folder, TEACHERS, [8]) == (6, 8)


def test_others_are_refused(tmp_path):
    claim_folder(tmp_path, TEACHERS, (6,))
    with pytest.raises(ConfigError, match="holds other teachers .*settings differ"):
        claim_folder(tmp_path, {**TEACHERS, "settings": {"seed": 1}}, (6,))
    with pytest.raises(ConfigError, match=r"holds the snapshots \[6\] .*, but \[6, 8\] are needed"):
        claim_folder(tmp_path, TEACHERS, (6, 8))


CONFIG = RunConfig()
SUM = replace(CONFIG, info_nce="sum")


def described(config=CONFIG):
    return describe_teachers(config, "fingerprint", {"name": "tower"}, {"name": "texts"})


def test_a_setting_that_older_teachers_did_not_know_has_its_default(tmp_path):
    claim_folder(tmp_path, described(), (6,))
    about = json.loads((tmp_path / "teachers.json").read_text())
    del about["sha256"]
    del (
        about["settings"]["teacher"]["views"],
        about["settings"]["teacher"]["image_is_view"],
        about["settings"]["teacher"]["augment"],
        about["settings"]["heads"]["dropout"],
    )
    del about["settings"]["image"]["precision"]
    (tmp_path / "teachers.json").write_text(json.dumps(about))
    claim_folder(tmp_path, described(), (6,))
    augmented = replace(CONFIG, teacher=TeacherConfig(augment="paper"))
    with pytest.raises(ConfigError, match="holds other teachers .*settings differ"):
        claim_folder(tmp_path, described(augmented), (6,))


def test_folders_are_found_by_what_decides_the_teachers(tmp_path):
    def found(config, kept=(6, 8)):
        return find_folder(tmp_path, config, described(config), kept)

    folder = found(CONFIG)
    assert folder.name == "epochs_6_8" and folder.parent.parent == tmp_path
    claim_folder(folder, described(), (6, 8))
    fewer = replace(CONFIG, run_dir="elsewhere", teacher=TeacherConfig(num_experts=9, keep="all"))
    assert found(fewer, (8,)) == folder  # it holds more than is needed
    assert found(CONFIG, (6, 7, 8)).name == "epochs_6-8"
    for other in (replace(CONFIG, seed=1), replace(CONFIG, teacher=TeacherConfig(momentum=0.5))):
        assert found(other).parent != folder.parent
    frozen = replace(CONFIG, image=ImageConfig(trainable=False), heads=HeadsConfig(image=True, width=4))
    seen = [None, *(TeacherConfig(augment="paper", views=views) for views in (1, 4))]
    seen.append(TeacherConfig(augment="paper", views=4, image_is_view=True))
    places = {found(frozen if teacher is None else replace(frozen, teacher=teacher)).parent for teacher in seen}
    assert len(places) == 4
    claim_folder(found(CONFIG, (6, 7, 8)), described(), (6, 7, 8))
    (found(CONFIG, (6, 7, 8)) / "expert_0000.safetensors").touch()
    assert found(CONFIG) == found(CONFIG, (6, 7, 8))  # the one with more teachers


def test_the_place_does_not_depend_on_the_process():
    # a key that changed would train everybody's teachers once more; raise its version if that is meant
    place = find_folder(Path("root"), SUM, described(SUM), (6,))
    assert place == Path("root/d8e588511ccd4f48dc4b9cbb/epochs_6")
    assert find_folder(Path("root"), CONFIG, described(), (6,)) == Path("root/e8339581eebe212d84a7d416/epochs_6")


def test_teachers_from_before_info_nce_was_a_choice_took_the_sum(tmp_path):
    folder = find_folder(tmp_path, SUM, described(SUM), (6,))
    claim_folder(folder, described(SUM), (6,))
    about = json.loads((folder / "teachers.json").read_text())
    del about["sha256"], about["settings"]["info_nce"]
    (folder / "teachers.json").write_text(json.dumps(about))
    assert holds(folder, described(SUM), (6,)) and not holds(folder, described(), (6,))
    assert find_folder(tmp_path, SUM, described(SUM), (6,)) == folder
    assert find_folder(tmp_path, CONFIG, described(), (6,)).parent != folder.parent
    with pytest.raises(ConfigError, match="holds other teachers .*settings differ"):
        claim_folder(folder, described(), (6,))


def test_a_damaged_folder_is_not_taken(tmp_path):
    (tmp_path / "teachers.json").write_text("[]")
    with pytest.raises(ArtifactError, match="is damaged"):
        claim_folder(tmp_path, described(), (6,))


@pytest.mark.parametrize("text", ["[]", "{}", "{"])
def test_a_damaged_listing_is_named(tmp_path, text):
    claim_folder(tmp_path, TEACHERS, (6,))
    (tmp_path / "teachers.json").write_text(text)
    with pytest.raises(ArtifactError, match=r"teachers\.json"):
        claim_folder(tmp_path, TEACHERS, (6,))


def test_a_listing_that_changed_is_found(tmp_path):
    claim_folder(tmp_path, TEACHERS, (6,))
    path = tmp_path / "teachers.json"
    path.write_text(path.read_text().replace("0.1", "0.3"))
    with pytest.raises(ArtifactError, match=r"teachers\.json is damaged"):
        claim_folder(tmp_path, TEACHERS, (6,))


def test_a_folder_of_something_else_is_not_filled_with_teachers(tmp_path):
    (tmp_path / "expert_0000.safetensors").touch()  # whose teachers.json was deleted
    assert claim_folder(tmp_path, TEACHERS, (6,)) == (6,)
    (tmp_path / "teachers.json").unlink()
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ConfigError, match="trajectories_dir is .*does not hold teachers .*'thesis.tex'"):
        claim_folder(tmp_path, TEACHERS, (6,))
    assert not (tmp_path / "teachers.json").exists()


def test_of_two_that_claim_a_folder_at_once_the_second_takes_what_the_first_keeps(tmp_path):
    claim_folder(tmp_path / "other", TEACHERS, (6, 8))
    (tmp_path / "ours").mkdir()
    with (tmp_path / "ours" / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # as another process that is about to claim it
        with ThreadPoolExecutor() as pool:
            second = pool.submit(claim_folder, tmp_path / "ours", TEACHERS, (8,))
            shutil.copy(tmp_path / "other" / ABOUT, tmp_path / "ours")
            fcntl.flock(lock, fcntl.LOCK_UN)
            assert second.result() == (6, 8)
