import pytest
import torch

from pairstill.core.errors import ArtifactError, ConfigError
from pairstill.teachers.shortcut import recorded_path, shortcut_pace, shortcut_path
from pairstill.teachers.trajectory import Trajectory, TrajectoryRecorder

CPU = torch.device("cpu")


@pytest.fixture
def record(tmp_path):
    def make(initial, places, keep=None):
        recorder = TrajectoryRecorder(initial, keep or range(1, len(places) + 1))
        for place in places:
            recorder.add(place)
        recorder.save(tmp_path / "expert.safetensors", {})
        return Trajectory.open(tmp_path / "expert.safetensors")

    return make


@pytest.fixture
def walked(record, make_factory, walk):
    initial = make_factory().initial_parameters(0)
    return record(initial, walk(initial, 4)), initial


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        (1, [[0, 1], [0, 1], [0, 0]]),
        (2, [[0, 0.75, 1], [0, 0.5, 1], [0, 0, 0]]),
        (3, [[0, 0.375, 0.5, 1], [0, 0.5, 1, 1], [0, 0, 0, 1]]),
    ],
)
def test_pace_by_hand(endpoint, expected):
    norms = torch.tensor([[3.0, 1.0, 4.0], [2.0, 2.0, 0.0], [0.0, 0.0, 5.0]], dtype=torch.float64)
    found = shortcut_pace(norms, endpoint)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_pace_starts_at_zero_never_falls_and_ends_at_exactly_one():
    norms = torch.rand(50, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    pace = shortcut_pace(norms, 7)
    assert (pace[:, 0] == 0).all() and (pace[:, -1] == 1).all()
    assert (pace.diff(dim=1) >= 0).all()
    torch.testing.assert_close(shortcut_pace(1e-9 * norms, 7), pace)


def test_a_layer_that_never_moves_has_pace_zero():
    pace = shortcut_pace(torch.zeros(2, 3), 3)
    assert pace.shape == (2, 4) and not pace.any() and pace.isfinite().all()


@pytest.mark.parametrize("endpoint", [0, 4, -1])
def test_endpoint_outside_of_the_trajectory(endpoint):
    with pytest.raises(ConfigError, match=rf"endpoint is {endpoint}; the trajectory has epochs 1\.\.3"):
        shortcut_pace(torch.ones(2, 3), endpoint)


def test_shortcut_by_hand(walked):
    trajectory, initial = walked
    path = shortcut_path(trajectory, 3, CPU)
    end = trajectory.snapshot(3)
    for epoch in range(4):
        for row, name in enumerate(initial):
            norms = trajectory.step_norms[row, :3]
            beta = float(norms[:epoch].sum() / norms.sum())
            expected = (1 - beta) * initial[name] + beta * end[name]
            torch.testing.assert_close(path.at(epoch)[name], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("endpoint", [1, 2, 4])
def test_shortcut_ends_at_exactly_the_endpoint(walked, endpoint):
    trajectory, initial = walked
    path = shortcut_path(trajectory, endpoint, CPU)
    assert all(torch.equal(path.at(0)[name], initial[name]) for name in initial)
    end = trajectory.snapshot(endpoint)
    assert all(torch.equal(path.at(endpoint)[name], end[name]) for name in initial)


def test_a_straight_trajectory_of_equal_steps_is_its_own_shortcut(record):
    generator = torch.Generator().manual_seed(0)
    shapes = {"image_head.a": (3, 4), "text_head.a": (5,)}
    initial = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    step = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    places = [{name: initial[name] + k * step[name] for name in initial} for k in range(1, 5)]
    trajectory = record(initial, places)
    shortcut, recorded = shortcut_path(trajectory, 4, CPU), recorded_path(trajectory, 0, 4, CPU)
    for epoch in range(5):
        for name in initial:
            # both hold the move to 16 bits: 4 steps of size up to 3, times 2^-12, twice
            torch.testing.assert_close(shortcut.at(epoch)[name], recorded.at(epoch)[name], rtol=0, atol=6e-3)


def test_a_detour_is_cut_off(record):
    places = [{"text_head.a": torch.tensor(value)} for value in ([1.0, 1.0], [2.0, 0.0])]
    trajectory = record({"text_head.a": torch.zeros(2)}, places)
    # two steps of length sqrt 2: half-way lies on the straight line
    torch.testing.assert_close(shortcut_path(trajectory, 2, CPU).at(1)["text_head.a"], torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(recorded_path(trajectory, 0, 2, CPU).at(1)["text_head.a"], torch.tensor([1.0, 1.0]))


def test_a_shortcut_reads_nothing_but_its_endpoint(record, make_factory, walk):
    initial = make_factory().initial_parameters(0)
    trajectory = record(initial, walk(initial, 4), keep=(3,))
    path = shortcut_path(trajectory, 3, CPU)
    assert list(path.displacements) == [3]
    path.at(1)
    with pytest.raises(ArtifactError, match="not 2"):
        shortcut_path(trajectory, 2, CPU)


def test_recorded_path_is_the_snapshots(walked):
    trajectory, initial = walked
    path = recorded_path(trajectory, 1, 3, CPU)
    assert sorted(path.displacements) == [1, 2, 3]
    for epoch in (0, 1, 2, 3):
        expected = trajectory.snapshot(epoch)
        assert all(torch.equal(path.at(epoch)[name], expected[name]) for name in initial)


@pytest.mark.parametrize("kind", ["shortcut", "recorded"])
@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_parameters_are_fresh_copies(walked, kind, epoch):
    trajectory, _ = walked
    path = shortcut_path(trajectory, 2, CPU) if kind == "shortcut" else recorded_path(trajectory, 0, 2, CPU)
    before = {name: value.clone() for name, value in path.at(epoch).items()}
    for value in path.at(epoch).values():
        value.fill_(7.0)
    assert all(torch.equal(path.at(epoch)[name], before[name]) for name in before)
