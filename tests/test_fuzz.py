"""Readers on what nobody meant to write: whatever comes, it is read or refused by an error of pairstill's own."""

import json
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pairstill.config import DataConfig, RunConfig
from pairstill.core.errors import PairstillError
from pairstill.data.build import build_manifest
from pairstill.distilled import DistilledPhase, DistilledSet
from pairstill.run.folder import RunFolder
from pairstill.run.log import read_events
from pairstill.storage import file_digest, load_tensors, read_json_lines, save_tensors
from pairstill.storage.checksums import sealed
from pairstill.teachers.trajectory import SHARED_PREFIX, Trajectory, TrajectoryRecorder

fuzz = settings(max_examples=25, derandomize=True)
plain = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["a.png", "train"])
)
keys = st.sampled_from(
    ["images", "filename", "split", "sentences", "raw", "image", "caption", "conversations", "value"]
)
anything = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys | st.text(max_size=4), inner, max_size=5)
)


@st.composite
def damages(draw):
    """A function that changes a few bytes of a file, cuts it or adds to it."""
    places = draw(st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=4))
    cut, more = draw(st.none() | st.floats(0, 1)), draw(st.binary(max_size=8))

    def damage(content: bytes) -> bytes:
        changed = bytearray(content)
        for place, byte in places:
            changed[int(place * len(changed))] = byte
        return bytes(changed if cut is None else changed[: int(cut * len(changed))]) + more

    return damage


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


def build(root, source, name, content):
    (root / name).write_bytes(content)
    for bad in ("error", "drop"):
        with suppress(PairstillError):
            config = DataConfig(source=source, root=str(root), annotations=name, on_bad_pair=bad)
            build_manifest(config, root / "cache")


@pytest.mark.parametrize("source", ["karpathy", "llava_cc3m"])
@fuzz
@given(entries=st.lists(anything, max_size=4) | anything, raw=st.binary(max_size=40), wrap=st.booleans())
def test_annotations(root, source, entries, raw, wrap):
    build(root, source, "a.json", json.dumps({"images": entries} if wrap else entries).encode())
    build(root, source, "a.json", raw)


@fuzz
@given(rows=st.lists(st.dictionaries(keys, anything, max_size=4), max_size=4), raw=st.binary(max_size=60))
def test_tables(root, rows, raw):
    build(root, "table", "a.jsonl", "\n".join(map(json.dumps, rows)).encode() + b"\n" + raw)
    build(root, "table", "a.csv", b"image,caption,split\n" + raw)
    build(root, "table", "b.csv", raw)
    build(root, "table", "a.parquet", b"PAR1" + raw + b"PAR1")


@pytest.fixture(scope="module")
def distilled(root):
    phase = DistilledPhase(
        *(torch.randn(2, 3, 4, 4), torch.randn(2, 3), {"matrix": torch.eye(2)}, 0.1, 0.2, ("a", "b"), ("c", "d"))
    )
    folder = root / "set"
    DistilledSet((phase,), {"name": "x"}, {"name": "y"}, {"kind": "linear"}, "wbce").save(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("name", ["distilled.json", "distilled.safetensors"])
@fuzz
@given(damage=damages())
def test_distilled_sets_with_damaged_files(distilled, name, damage):
    with tempfile.TemporaryDirectory() as folder:
        for file, content in distilled.items():
            (Path(folder) / file).write_bytes(damage(content) if file == name else content)
        with suppress(PairstillError):
            read = DistilledSet.load(folder)
            assert read.phases[0].captions == ("a", "b"), "what is read is what was written"


def places(value, path=()):
    yield path
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(inner, (*path, key))


@fuzz
@given(data=st.data(), value=anything)
def test_distilled_sets_whose_manifest_says_something_else(distilled, data, value):
    manifest = json.loads(distilled["distilled.json"])
    path = data.draw(
        st.sampled_from([p for p in places(manifest) if p and p[0] not in ("format", "version", "sha256")])
    )
    holder = manifest
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    with tempfile.TemporaryDirectory() as folder, suppress(ValueError):  # JSON of values that are not finite
        (Path(folder) / "distilled.safetensors").write_bytes(distilled["distilled.safetensors"])
        (Path(folder) / "distilled.json").write_text(json.dumps(sealed(manifest)))
        with suppress(PairstillError):
            DistilledSet.load(folder)


@fuzz
@given(
    name=st.sampled_from(["images", "text_embeddings", "similarity/matrix"]),
    shape=st.lists(st.integers(0, 4), max_size=5),
    kind=st.sampled_from([torch.float32, torch.int64, torch.bool, torch.bfloat16, torch.complex64]),
    value=st.sampled_from([0.0, 1.0, float("nan"), float("inf")]),
)
def test_distilled_sets_with_other_tensors(distilled, name, shape, kind, value):
    with tempfile.TemporaryDirectory() as place, suppress(PairstillError):
        folder = Path(place)
        path = folder / "distilled.safetensors"
        path.write_bytes(distilled["distilled.safetensors"])
        filled = torch.zeros(shape, dtype=kind) if value != value or value > 1 else torch.full(shape, value, dtype=kind)
        if kind.is_floating_point:
            filled = torch.full(shape, value, dtype=kind)
        save_tensors(path, {**load_tensors(path), f"phase1/{name}": filled})
        manifest = json.loads(distilled["distilled.json"])
        manifest["tensors"]["sha256"] = file_digest(path)
        (folder / "distilled.json").write_text(json.dumps(sealed(manifest)))
        read = DistilledSet.load(folder)
        assert read.phases[0].similarity.shape == (2, 2)


@pytest.fixture(scope="module")
def trajectory(root):
    initial = {f"{SHARED_PREFIX}w": torch.randn(2, 3), "head.w": torch.randn(4)}
    recorder = TrajectoryRecorder(initial, keep=(1, 2))
    for step in (1, 2):
        recorder.add({name: value + step for name, value in initial.items()})
    recorder.save(root / "teachers" / "expert_0000.safetensors", {"seed": [0]})
    return {path.name: path.read_bytes() for path in (root / "teachers").iterdir()}


@pytest.mark.parametrize("name", ["expert_0000.safetensors", "shared_initial.safetensors"])
@fuzz
@given(damage=damages())
def test_damaged_trajectories(trajectory, name, damage):
    with tempfile.TemporaryDirectory() as folder:
        for file, content in trajectory.items():
            (Path(folder) / file).write_bytes(damage(content) if file == name else content)
        with suppress(PairstillError):
            read = Trajectory.open(Path(folder) / "expert_0000.safetensors")
            torch.testing.assert_close(read.snapshot(2)["head.w"], read.initial()["head.w"] + 2)


@fuzz
@given(header=st.dictionaries(st.sampled_from(["layers", "epochs", "about"]), st.text(max_size=9) | anything.map(str)))
def test_trajectories_whose_header_says_something_else(header):
    with tempfile.TemporaryDirectory() as folder, suppress(PairstillError, UnicodeEncodeError):
        path = Path(folder) / "expert_0000.safetensors"
        save_tensors(path, {"step_norms": torch.ones(1, 2)}, {"kind": "trajectory", **header})
        read = Trajectory.open(path)
        for epoch in read.epochs:
            read.displacement(epoch)


@fuzz
@given(
    events=st.lists(
        st.dictionaries(st.sampled_from(["event", "phase", "stage", "step"]), anything | st.just("distill_step"))
    ),
    raw=st.binary(max_size=40),
)
def test_logs(root, events, raw):
    path = root / "lines.jsonl"
    path.write_bytes("\n".join(map(json.dumps, events)).encode() + b"\n" + raw)
    assert all(isinstance(event["event"], str) for event in read_events(path))
    with suppress(PairstillError):
        assert all(isinstance(line, dict) for line in read_json_lines(path))


@fuzz
@given(text=st.binary(max_size=40) | anything.map(lambda value: json.dumps(value).encode()))
def test_settings_of_a_run(root, text):
    folder = root / "run"
    (folder / "trajectories").mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_bytes(text)
    with suppress(PairstillError):
        RunFolder(RunConfig(run_dir=str(folder)))
