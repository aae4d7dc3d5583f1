import pytest
import torch

from pairstill.core.errors import ArtifactError, NumericalError
from pairstill.storage import load_tensors, save_tensors
from pairstill.teachers.trajectory import SHARED, Trajectory, TrajectoryRecorder


@pytest.fixture
def record(tmp_path, make_factory, walk):
    """Record a random walk; return the trajectory, theta_0 and the later snapshots."""

    def make(name="expert", keep=(1, 3), epochs=3, seed=0, head=0):
        initial = make_factory(image=True, width=4).initial_parameters(head)
        places = walk(initial, epochs, seed=seed)
        recorder = TrajectoryRecorder(initial, keep)
        for place in places:
            recorder.add(place)
        path = tmp_path / f"{name}.safetensors"
        recorder.save(path, {"seed": seed})
        return Trajectory.open(path), initial, places

    return make


def test_step_norms_by_hand(record):
    trajectory, initial, places = record()
    assert trajectory.layers == tuple(initial)
    assert trajectory.step_norms.shape == (len(initial), 3) and trajectory.step_norms.dtype == torch.float64
    for row, name in enumerate(initial):
        steps = [b[name].double() - a[name].double() for a, b in zip([initial, *places], places, strict=False)]
        expected = torch.tensor([step.square().sum().sqrt().item() for step in steps], dtype=torch.float64)
        torch.testing.assert_close(trajectory.step_norms[row], expected)


def test_theta_zero_is_exact(record):
    trajectory, initial, _ = record()
    found = trajectory.initial()
    assert list(found) == list(initial)
    assert all(torch.equal(found[name], initial[name]) for name in initial)
    assert all(not value.any() for value in trajectory.displacement(0).values())


@pytest.mark.parametrize("epoch", [1, 3])
def test_displacements_are_exact_to_16_bits_of_the_largest_entry(record, epoch):
    trajectory, initial, places = record()
    for name, move in trajectory.displacement(epoch).items():
        exact = places[epoch - 1][name] - initial[name]
        largest = exact.abs().max()
        # half precision has 11 significant bits: the spacing just below 1 is 2^-11, rounding errs by half of it
        assert (move - exact).abs().max() <= 1.001 * 2**-12 * largest
        assert move.abs().max() == largest
        snapshot = trajectory.snapshot(epoch)[name]
        torch.testing.assert_close(snapshot, initial[name] + move)


@pytest.mark.parametrize("scale", [1e-20, 1e-6, 1e6])
def test_accuracy_does_not_depend_on_the_size_of_the_moves(tmp_path, scale):
    generator = torch.Generator().manual_seed(0)
    initial = {"text_head.a": torch.zeros(100)}
    moved = {"text_head.a": scale * torch.randn(100, generator=generator)}
    recorder = TrajectoryRecorder(initial, (1,))
    recorder.add(moved)
    recorder.save(tmp_path / "e.safetensors", {})
    found = Trajectory.open(tmp_path / "e.safetensors").displacement(1)["text_head.a"]
    error = (found - moved["text_head.a"]).abs().max() / moved["text_head.a"].abs().max()
    assert error <= 1.001 * 2**-12


def test_a_layer_that_does_not_move(tmp_path):
    initial = {"text_head.a": torch.ones(3), "text_head.b": torch.ones(2)}
    recorder = TrajectoryRecorder(initial, (1,))
    recorder.add({"text_head.a": torch.ones(3), "text_head.b": torch.zeros(2)})
    recorder.save(tmp_path / "e.safetensors", {})
    trajectory = Trajectory.open(tmp_path / "e.safetensors")
    assert trajectory.displacement(1)["text_head.a"].tolist() == [0, 0, 0]
    assert trajectory.step_norms[:, 0].tolist() == pytest.approx([0, 2**0.5])


def test_snapshots_are_copies(tmp_path):
    live = {"text_head.a": torch.zeros(2), "image_tower.a": torch.zeros(2)}
    recorder = TrajectoryRecorder(live, (1, 2))
    for value in live.values():
        value.fill_(1.0)
    recorder.add(live)
    for value in live.values():
        value.fill_(3.0)
    recorder.add(live)
    for value in live.values():
        value.fill_(float("nan"))
    recorder.save(tmp_path / "e.safetensors", {})
    trajectory = Trajectory.open(tmp_path / "e.safetensors")
    for name in live:
        assert trajectory.initial()[name].tolist() == [0, 0]
        assert trajectory.snapshot(1)[name].tolist() == [1, 1]
        assert trajectory.snapshot(2)[name].tolist() == [3, 3]
    torch.testing.assert_close(trajectory.step_norms, torch.tensor([[2**0.5, 8**0.5]] * 2, dtype=torch.float64))


def test_snapshots_can_be_had_from_live_leaves(tmp_path):
    live = {"text_head.a": torch.zeros(2, requires_grad=True)}
    recorder = TrajectoryRecorder(live, (1,))
    recorder.add(live)
    recorder.save(tmp_path / "e.safetensors", {})


def test_only_asked_for_snapshots_are_stored(record):
    trajectory, _, _ = record(keep=(1, 3))
    assert trajectory.epochs == (1, 3)
    with pytest.raises(ArtifactError, match=r"holds the snapshots \[1, 3\], not 2; train the teachers again"):
        trajectory.displacement(2)
    with pytest.raises(ArtifactError, match="not 4"):
        trajectory.snapshot(4)


def test_the_shared_tower_is_stored_once(record):
    first, initial, _ = record("first", head=0)
    shared = load_tensors(first.path.parent / SHARED)
    assert shared.keys() == {name for name in initial if name.startswith("image_tower.")}
    written = (first.path.parent / SHARED).stat().st_mtime_ns
    second, other, _ = record("second", seed=1, head=1)
    assert (first.path.parent / SHARED).stat().st_mtime_ns == written
    assert not any("initial/image_tower" in name for name in load_tensors(second.path))
    assert all(torch.equal(second.initial()[name], other[name]) for name in other)
    assert all(torch.equal(first.initial()[name], initial[name]) for name in initial)


def test_files_are_read_lazily(record):
    """What is read is checked; so what is damaged is read only where nothing complains."""
    trajectory, _, _ = record()
    stored, content = load_tensors(trajectory.path), bytearray(trajectory.path.read_bytes())
    for name, value in stored.items():
        if name.startswith(("initial/", "epoch001/", "epoch002/")):
            content[content.index(value.numpy().tobytes())] ^= 1
    trajectory.path.write_bytes(content)
    assert torch.equal(Trajectory.open(trajectory.path).step_norms, trajectory.step_norms)
    trajectory.displacement(3)
    with pytest.raises(ArtifactError, match="damaged"):
        trajectory.displacement(1)


def test_what_is_no_trajectory(record, tmp_path):
    save_tensors(tmp_path / "other.safetensors", {"step_norms": torch.zeros(1, 1)})
    with pytest.raises(ArtifactError, match="is not a trajectory; delete it"):
        Trajectory.open(tmp_path / "other.safetensors")
    with pytest.raises(ArtifactError, match="does not exist"):
        Trajectory.open(tmp_path / "missing.safetensors")
    trajectory, _, _ = record()
    trajectory.path.write_bytes(trajectory.path.read_bytes()[:-8])
    with pytest.raises(ArtifactError, match="is damaged"):
        Trajectory.open(trajectory.path)


def test_a_lost_shared_file(record):
    trajectory, _, _ = record()
    (trajectory.path.parent / SHARED).unlink()
    with pytest.raises(ArtifactError, match="shared_initial.safetensors does not exist"):
        trajectory.initial()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_not_finite_names_parameter_and_epoch(value):
    recorder = TrajectoryRecorder({"text_head.a": torch.zeros(2), "text_head.b": torch.zeros(2)}, (1,))
    recorder.add({"text_head.a": torch.zeros(2), "text_head.b": torch.zeros(2)})
    with pytest.raises(NumericalError, match="parameter text_head.b is not finite after epoch 2"):
        recorder.add({"text_head.a": torch.zeros(2), "text_head.b": torch.tensor([0.0, value])})
