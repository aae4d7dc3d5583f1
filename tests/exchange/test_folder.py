"""Every format gives back what was put in, to the bit, or says what is wrong."""

import errno
import io
import json
import sys
import tarfile
from dataclasses import replace

import numpy
import pytest
import torch

from pairstill.core.errors import ArtifactError, ConfigError, MissingDependencyError, StorageError
from pairstill.distilled.phase import TowerRates
from pairstill.exchange import pictures
from pairstill.exchange.columns import PLAIN
from pairstill.exchange.folder import is_export_of, open_set, read_export, write_export
from pairstill.exchange.settings import LAYOUTS
from pairstill.exchange.shards import read_shards
from pairstill.storage import file_digest, write_sealed


@pytest.mark.parametrize("kind", ["full", "low_rank", "identity", "mixed", "kept"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_round_trip_to_the_bit(tmp_path, make, same, layout, kind):
    written = make(kind)
    write_export(written, layout, tmp_path / "out", "# card\n", "seed: 1\n")
    assert same(written, open_set(tmp_path / "out"))
    assert (tmp_path / "out" / "README.md").read_text() == "# card\n"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]  # nothing temporary is left


@pytest.mark.parametrize("layout", LAYOUTS)
def test_photos_that_are_kept_stay_the_files_that_they_were(tmp_path, make, layout):
    written = make("kept")
    write_export(written, layout, tmp_path / "out", "", None)
    content = b"".join(path.read_bytes() for path in sorted((tmp_path / "out").rglob("*")) if path.is_file())
    read = read_export(tmp_path / "out")
    assert read.photos == written.photos
    assert layout in ("parquet", "huggingface") or all(photo in content for photo in written.photos)
    assert [phase.mixtures.captions for phase in read.phases] == [phase.mixtures.captions for phase in written.phases]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_glossary_goes_along(tmp_path, make, layout):
    written = replace(make(), glossary=("a dog", "Straße 日本 \u2028", ""))
    write_export(written, layout, tmp_path / "out", "", None)
    assert read_export(tmp_path / "out").glossary == written.glossary


def test_extreme_float32_values_survive(tmp_path, make, same):
    written = make()
    tiny = torch.finfo(torch.float32)
    values = torch.tensor([tiny.max, tiny.min, tiny.tiny, tiny.tiny / 4, -0.0, 1 + tiny.eps])
    written.phases[0].text_embeddings[0] = values
    for layout in LAYOUTS:
        write_export(written, layout, tmp_path / layout, "", None)
        read = read_export(tmp_path / layout)
        assert same(written, read)
        assert torch.signbit(read.phases[0].text_embeddings[0]).tolist() == torch.signbit(values).tolist()


def test_sets_of_runs_are_opened_as_well(tmp_path, make, same):
    written = make()
    written.save(tmp_path / "run" / "distilled")
    assert same(written, open_set(tmp_path / "run")) and same(written, open_set(tmp_path / "run" / "distilled"))
    with pytest.raises(ArtifactError, match="holds no distilled set; give an export"):
        open_set(tmp_path)


def test_an_export_never_overwrites(tmp_path, make):
    (tmp_path / "out").mkdir()
    write_export(make(), "parquet", tmp_path / "out", "", None)  # empty: taken
    with pytest.raises(ConfigError, match="exists already"):
        write_export(make(), "imagefolder", tmp_path / "out", "", None)


def test_an_export_is_known_again(tmp_path, make):
    out = tmp_path / "out"
    assert not is_export_of(out, "parquet", make())
    write_export(make(), "parquet", out, "", None)
    assert is_export_of(out, "parquet", make()) and not is_export_of(out, "imagefolder", make())
    others = make()
    others.phases[1].images[0, 0, 0, 0] += 1
    assert not is_export_of(out, "parquet", others) and not is_export_of(out, "parquet", make("low_rank"))
    assert not is_export_of(out, "parquet", replace(make(), loss="infonce"))
    with (out / "README.md").open("a") as card, (out / PLAIN).open("a") as pairs:
        card.write("of mine")
        assert is_export_of(out, "parquet", make()), "the card is for people"
        pairs.write("x")
    with pytest.raises(ArtifactError):
        is_export_of(out, "parquet", make())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_where_encoders_lie_is_not_told(tmp_path, make, layout):
    here = str(tmp_path / "towers")
    encoder = {**make().image_encoder, "name": f"{here}/clip + open_clip:{here}/siglip + resnet50"}
    text = {**make().text_encoder, "name": f"open_clip:{here}/clip"}
    towers = tuple({**make().image_encoder, "name": f"{here}/{name}"} for name in ("clip", "siglip"))
    rates = (TowerRates(0.1, 0.2), TowerRates(0.3, 0.4))
    phases = tuple(replace(phase, tower_rates=rates) for phase in make().phases)
    written = replace(make(), phases=phases, image_encoder=encoder, text_encoder=text, towers=towers)
    write_export(written, layout, tmp_path / "out", "", None)
    assert not any(here.encode() in path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())
    read = open_set(tmp_path / "out")
    assert (read.image_encoder["name"], read.text_encoder["name"]) == (
        "clip + open_clip:siglip + resnet50",
        "open_clip:clip",
    )
    assert [tower["name"] for tower in read.towers] == ["clip", "siglip"]
    assert is_export_of(tmp_path / "out", layout, written)


def test_a_failed_export_leaves_nothing(tmp_path, make):
    with pytest.raises(ArtifactError, match=r"phase1/images is torch.float64; only float32"):
        bad = make()
        object.__setattr__(bad.phases[0], "images", bad.phases[0].images.double())
        write_export(bad, "webdataset", tmp_path / "out", "", None)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named(tmp_path, make, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingDependencyError, match=r"needs the package datasets.*pairstill\[huggingface\]"):
        write_export(make(), "huggingface", tmp_path / "out", "", None)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_flipped_byte_and_a_missing_file_are_named(tmp_path, make, layout):
    out = tmp_path / "out"
    write_export(make(), layout, out, "", None)
    path = max((p for p in out.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=f"{path.name} does not match"):
        read_export(out)
    path.unlink()
    with pytest.raises(ArtifactError, match=f"{path.name} does not exist"):
        read_export(out)
    path.symlink_to(path.name)
    with pytest.raises(ArtifactError, match=f"{path.name} does not exist"):
        read_export(out)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_damage_with_matching_checksums_is_found(tmp_path, make, layout):
    out = tmp_path / "out"
    write_export(make(), layout, out, "", None)
    manifest = json.loads((out / "pairstill.json").read_text())
    path = max((out / name for name in manifest["files"]), key=lambda p: p.stat().st_size)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    manifest["files"][path.relative_to(out).as_posix()] = file_digest(path)
    write_sealed(out / "pairstill.json", manifest)
    with pytest.raises(ArtifactError):
        read_export(out)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda m: m.update(version=2), "format version 1"),
        (lambda m: m.update(layout="csv"), "must be one of parquet"),
        (lambda m: m["files"].update({"../outside": "0"}), "outside of its folder"),
        (lambda m: m["phases"][0].update(num_pairs=6), "lacks 1 of its 6 pairs"),
        (lambda m: m["phases"][0].update(num_pairs=4), "belong to no phase"),
        (lambda m: m["phases"].pop(), "3 pairs belong to no phase"),
        (lambda m: m.update(image_shape=[3, 4, 4]), "not of one shape"),
        (lambda m: m.update(image_shape=None), "garbles"),
        (lambda m: m["phases"][0]["factor_shapes"].update(extra=[5, 5]), "garbles"),
        (lambda m: m.pop("heads"), "garbles 'heads'"),
        (lambda m: m.update(files=3), "garbles"),
        (lambda m: m.update(files={}), "pairs.parquet is not named in pairstill.json"),
        (lambda m: m["phases"][0].update(num_pairs=10**18), "of its 1000000000000000000 pairs"),
        (lambda m: m["phases"][0].update(num_pairs=float("inf")), "Infinity is not a finite number"),
        (lambda m: m["phases"][0].update(num_pairs=-1), "lacks"),
    ],
)
def test_a_manifest_that_does_not_fit(tmp_path, make, change, says):
    write_export(make(), "parquet", tmp_path / "out", "", None)
    path = tmp_path / "out" / "pairstill.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    del manifest["sha256"]
    path.write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match=says):
        read_export(tmp_path / "out")


def test_changed_rates_and_captions_are_found(tmp_path, make, same):
    written = make()
    write_export(written, "parquet", tmp_path / "out", "", None)
    path = tmp_path / "out" / "pairstill.json"
    manifest = json.loads(path.read_text())
    del manifest["sha256"]
    path.write_text(json.dumps(manifest))
    assert same(written, read_export(tmp_path / "out")), "from before there were checksums"
    write_sealed(path, manifest)
    text = path.read_text()
    assert text.count('"inner_lr_image": 0.1') == 1
    path.write_text(text.replace('"inner_lr_image": 0.1', '"inner_lr_image": 0.2'))
    with pytest.raises(ArtifactError, match=r"pairstill\.json is damaged, or was changed"):
        read_export(tmp_path / "out")


def test_changed_settings_are_found(tmp_path, make):
    write_export(make(), "parquet", tmp_path / "out", "", "seed: 1\n")
    (tmp_path / "out" / "settings.yaml").write_text("seed: 2\n")
    with pytest.raises(ArtifactError, match=r"settings\.yaml does not match"):
        read_export(tmp_path / "out")


def test_a_full_disk_leaves_nothing_and_says_what_to_do(tmp_path, make, monkeypatch):
    def full(row, encoder):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pictures, "picture_file", full)
    with pytest.raises(StorageError, match=r"out cannot be written \(No space left on device\).*Make room"):
        write_export(make(), "imagefolder", tmp_path / "out", "", None)
    assert list(tmp_path.iterdir()) == []


def test_a_parent_that_is_no_folder_is_named(tmp_path, make):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="out cannot be written"):
        write_export(make(), "parquet", tmp_path / "file" / "out", "", None)
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def npy(shape):
    stream = io.BytesIO()
    numpy.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return stream.getvalue()


@pytest.mark.parametrize(
    ("ending", "content"),
    [
        ("pixels.npy", npy((10**15,))),
        ("pixels.npy", npy((10**30,))),
        ("json", b"[" * 10**5),
        ("json", b"[1]"),
        ("json", b"\xff"),
    ],
)
def test_hostile_members_of_a_shard(tmp_path, ending, content):
    members = {"json": b'{"phase": 1, "index": 0, "caption": "a", "source": "b"}', ending: content}
    with tarfile.open(tmp_path / "pairs-000000.tar", "w") as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(f"0.{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    with pytest.raises(ArtifactError, match=r"pairs-000000\.tar is not a whole shard"):
        list(read_shards(tmp_path))


def test_captions_nested_too_deeply(tmp_path, make):
    write_export(make(), "imagefolder", tmp_path / "out", "", None)
    path, manifest = tmp_path / "out" / "images" / "metadata.jsonl", tmp_path / "out" / "pairstill.json"
    path.write_text("[" * 10**5 + "\n")
    changed = json.loads(manifest.read_text())
    changed["files"]["images/metadata.jsonl"] = file_digest(path)
    write_sealed(manifest, changed)
    with pytest.raises(ArtifactError, match="nested too deeply"):
        read_export(tmp_path / "out")


def test_other_tools_read_the_formats(tmp_path, make):
    datasets = pytest.importorskip("datasets")
    tariterators = pytest.importorskip("webdataset.tariterators")
    autodecode = pytest.importorskip("webdataset.autodecode")
    written = make()
    for layout in ("huggingface", "webdataset", "imagefolder"):
        write_export(written, layout, tmp_path / layout, "", None)
    cache = str(tmp_path / "cache")
    hub = datasets.load_dataset(str(tmp_path / "huggingface"), split="train", cache_dir=cache)
    assert len(hub) == 8 and hub[6]["image"].size == (5, 4) and hub[1]["caption"] == "two\nlines"
    assert torch.equal(torch.tensor(hub[6]["pixels"]).reshape(3, 4, 5), written.phases[1].images[1])
    folder = datasets.load_dataset(
        "imagefolder", data_dir=str(tmp_path / "imagefolder"), split="train", cache_dir=cache
    )
    assert folder[1]["caption"] == "two\nlines" and folder[7]["phase"] == 2
    decode = autodecode.Decoder([autodecode.imagehandler("pil")])
    with (tmp_path / "webdataset" / "pairs-000000.tar").open("rb") as stream:  # WebDataset leaves its own open
        files = tariterators.tar_file_expander([{"url": "pairs", "stream": stream}])
        samples = [decode(sample) for sample in tariterators.group_by_keys(files)]
    assert len(samples) == 8 and samples[0]["png"].size == (5, 4) and samples[6]["json"]["index"] == 1
    assert torch.equal(torch.from_numpy(samples[6]["pixels.npy"]), written.phases[1].images[1])
