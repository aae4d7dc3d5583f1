"""Shapes of recorded trajectories whose shape is known."""

from pathlib import Path

import pytest
import torch

from pairstill.analyze.trajectories import angle_rows, distance_rows, length_rows, measure_trajectories
from pairstill.model.dual_encoder import Parameters
from pairstill.teachers.shortcut import shortcut_path
from pairstill.teachers.trajectory import Trajectory, TrajectoryRecorder

CPU = torch.device("cpu")


def _record(path: Path, places: list[tuple[list[float], list[float]]], shift: float = 0.0) -> Path:
    def parameters(tower: list[float], head: list[float]) -> Parameters:
        return {"image_tower.w": torch.tensor(tower), "text_head.w": torch.tensor(head) + shift}

    recorder = TrajectoryRecorder(parameters(*places[0]), keep=range(1, len(places)))
    for place in places[1:]:
        recorder.add(parameters(*place))
    recorder.save(path, {})
    return path


# the image side turns by a right angle, the text side goes straight on, at an uneven pace
PLACES = [([1.0, 1.0], [0.0]), ([3.0, 1.0], [1.0]), ([3.0, 3.0], [4.0])]


@pytest.fixture
def experts(tmp_path: Path) -> list[Path]:
    return [_record(tmp_path / f"expert_{n:04d}.safetensors", PLACES, shift=3.0 * n) for n in range(2)]


def test_positions_of_a_layer_are_those_of_the_snapshots(experts: list[Path]) -> None:
    trajectory = Trajectory.open(experts[1])
    for layer in trajectory.layers:
        expected = torch.stack([trajectory.snapshot(epoch)[layer] for epoch in (0, 1, 2)])
        torch.testing.assert_close(trajectory.positions(layer), expected.flatten(1), atol=0, rtol=0)


def test_a_right_angle_turns_by_90_degrees_and_a_straight_path_by_none(experts: list[Path]) -> None:
    shapes = measure_trajectories(experts)
    angles = {(row["layer"], row["path"]): row["turning_angle"] for row in angle_rows(shapes)}
    assert angles["image_tower.w", "original"] == pytest.approx(90.0)
    assert angles["text_head.w", "original"] == pytest.approx(0.0, abs=1e-4)
    assert angles["image_tower.w", "shortcut"] == pytest.approx(0.0, abs=1e-4)
    # all together: steps (2, 0, 1) and (0, 2, 3)
    expected = torch.rad2deg(torch.arccos(torch.tensor(3 / (5**0.5 * 13**0.5))))
    assert angles["all", "original"] == pytest.approx(float(expected))
    # each layer of a shortcut is straight, but they differ in pace: (1, 1, 1) and (1, 1, 3)
    assert angles["all", "shortcut"] == pytest.approx(float(torch.rad2deg(torch.arccos(torch.tensor(5 / 33**0.5)))))


def test_lengths_and_distances_by_hand(experts: list[Path]) -> None:
    shapes = measure_trajectories(experts)
    lengths = {row["layer"]: row for row in length_rows(shapes)}
    assert lengths["image_tower.w"]["path_length"] == pytest.approx(4.0)
    assert lengths["image_tower.w"]["straightness"] == pytest.approx(8**0.5 / 4)
    assert lengths["text_head.w"]["straightness"] == pytest.approx(1.0)
    for row in distance_rows(shapes):
        assert row["distance_between_experts"] == pytest.approx(3.0 if row["side"] == "text" else 0.0, abs=1e-6)


def test_points_of_shortcuts_are_those_that_a_phase_matches(experts: list[Path]) -> None:
    shapes = measure_trajectories(experts)
    path = shortcut_path(Trajectory.open(experts[0]), 2, CPU)
    points = torch.stack([torch.cat([value for value in path.at(epoch).values()]) for epoch in (0, 1, 2)]).double()
    rows = shapes.rows("shortcut", 0)
    found = shapes.whole()[rows, rows]
    centred = points - torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)  # the origin of the inner products
    torch.testing.assert_close(found, centred @ centred.T)


def test_one_expert_has_no_distance_to_others_and_a_layer_that_stays_has_no_angle(tmp_path: Path) -> None:
    shapes = measure_trajectories(
        [_record(tmp_path / "expert_0000.safetensors", [([1.0], [float(n)]) for n in range(3)])]
    )
    assert {row["distance_between_experts"] for row in distance_rows(shapes)} == {None}
    angles = {(row["layer"], row["path"]): row["turning_angle"] for row in angle_rows(shapes)}
    assert angles["image_tower.w", "original"] is None and angles["all", "original"] == pytest.approx(0.0, abs=1e-4)
    straightness = {row["layer"]: row["straightness"] for row in length_rows(shapes)}
    assert straightness == {"image_tower.w": None, "text_head.w": pytest.approx(1.0)}


def test_a_view_begins_in_one_point_and_holds_everything_of_paths_in_three_dimensions(experts: list[Path]) -> None:
    shapes = measure_trajectories(experts)
    view = shapes.view(2)
    assert float(view.shares.sum()) == pytest.approx(1.0)
    starts = [view.values[shapes.view_rows(path, n, 2)][0] for path in ("original", "shortcut") for n in (0, 1)]
    for start in starts:
        torch.testing.assert_close(start, starts[0])
