import errno
import json

import pytest
import torch

from pairstill.core.errors import ArtifactError, StorageError
from pairstill.distill.checkpoints import last_whole
from pairstill.storage import files, open_tensors, save_tensors


class Killed(Exception):
    pass


@pytest.fixture
def killed(make_problem, distil, tmp_path):
    """The checkpoints of a phase of six steps, after 2 and 4, that a kill in step 5 left."""

    def kill(report):
        if report.step == 5:
            raise Killed

    with pytest.raises(Killed):
        distil(make_problem(), tmp_path / "c.safetensors", kill)
    return tmp_path / "c.safetensors", tmp_path / "c.previous.safetensors"


def step_of(checkpoint):
    with open_tensors(checkpoint) as stored:
        return json.loads(stored.metadata()["progress"])["step"]


def damage(path, how):
    content = bytearray(path.read_bytes())
    if how == "cut":
        del content[-3:]
    else:
        content[len(content) // 2] ^= 4
    path.write_bytes(content)


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture
def goes_on(distil):
    """Distil to the end and return what was learned, the steps that were done and what was said of damage."""

    def run(problem, checkpoint):
        steps, said = [], []
        found = distil(problem, checkpoint, lambda report: steps.append(report.step), on_damage=said.append)
        return found, steps, said

    return run


def test_the_checkpoint_before_the_newest_is_kept(killed):
    assert [step_of(path) for path in killed] == [4, 2]


def test_a_whole_newest_checkpoint_is_taken(goes_on, killed, make_problem, distil):
    found, steps, said = goes_on(make_problem(), killed[0])
    assert (steps, said) == ([5, 6], [])
    assert same(found, distil(make_problem()))


@pytest.mark.parametrize("how", ["cut", "flip"])
def test_the_one_before_a_damaged_checkpoint_takes_its_place_and_leads_to_the_same_bits(
    goes_on, killed, make_problem, distil, how
):
    newest, before = killed
    damage(newest, how)
    found, steps, said = goes_on(make_problem(), newest)
    assert steps == [3, 4, 5, 6]
    assert len(said) == 1 and str(newest) in said[0] and "is damaged" in said[0]
    assert said[0].endswith("the phase goes on from the checkpoint before it")
    assert same(found, distil(make_problem()))
    assert [step_of(path) for path in (newest, before)] == [6, 4]


def test_a_damaged_checkpoint_never_takes_the_place_of_a_good_one(killed):
    newest, before = killed
    damage(newest, "flip")
    assert last_whole(newest, lambda message: None) == before
    assert not newest.exists() and step_of(before) == 2


def test_a_kill_between_the_two_files_leaves_the_one_before(goes_on, killed, make_problem, distil):
    newest, before = killed
    newest.replace(before)  # the first half of writing the next
    found, steps, said = goes_on(make_problem(), newest)
    assert (steps, said) == ([5, 6], [])
    assert same(found, distil(make_problem()))


def test_no_whole_checkpoint_is_an_error_that_names_the_last(goes_on, killed, make_problem):
    for path in killed:
        damage(path, "flip")
    with pytest.raises(ArtifactError, match=r"c\.previous\.safetensors is damaged .*delete it"):
        goes_on(make_problem(), killed[0])


def test_a_full_disk_stops_the_phase_and_the_last_checkpoint_is_whole(
    goes_on, make_problem, distil, tmp_path, monkeypatch
):
    checkpoint, replace = tmp_path / "c.safetensors", files.Path.replace
    written = []

    def full(path, target):
        if path.parent.suffix == ".tmp":
            written.append(target)
            if len(written) == 2:
                raise OSError(errno.ENOSPC, "No space left on device")
        return replace(path, target)

    monkeypatch.setattr(files.Path, "replace", full)
    with pytest.raises(StorageError, match=r"c\.safetensors cannot be written \(No space left on device\)"):
        goes_on(make_problem(), checkpoint)
    monkeypatch.undo()
    found, steps, _ = goes_on(make_problem(), checkpoint)
    assert steps == [3, 4, 5, 6]
    assert same(found, distil(make_problem()))


def test_a_checkpoint_of_something_else_is_no_damage(goes_on, tmp_path, make_problem):
    save_tensors(tmp_path / "c.safetensors", {"x": torch.zeros(1)}, {"kind": "trajectory"})
    with pytest.raises(ArtifactError, match="is not a checkpoint; delete it to start the phase anew"):
        goes_on(make_problem(), tmp_path / "c.safetensors")
