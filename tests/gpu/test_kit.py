"""The kit for a GPU, at toy size on the CPU, and what it is packed into."""

import importlib
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from PIL import Image
from safetensors.torch import save_file

from pairstill.encoders.row_files import caption_digest, write_row_file

KIT = Path(__file__).parents[2] / "benchmarks" / "gpu"
pytestmark = pytest.mark.skipif(not KIT.is_dir(), reason="benchmarks are in the repository, not in the package")


def script(name, *options, **more):
    command = [sys.executable, str(KIT / name), *map(str, options)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600, **more)


@pytest.fixture
def modules(monkeypatch):
    """Import the kit's modules, which are found as they are where it is unpacked."""
    monkeypatch.syspath_prepend(str(KIT))
    return importlib.import_module


def lines(out):
    return [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]


def test_every_part_at_toy_size_and_nothing_twice(modules, tmp_path):
    kit, options = modules("kit"), ["--tiny", "--work", str(tmp_path / "work"), "--out", str(tmp_path / "out")]
    for part in kit.PARTS[:-1]:  # as the processes do that the kit starts
        assert kit.main([*options, "--part", part.name]) == 0, part.name
    done = script("kit.py", *options, "--parts", "results")
    assert done.returncode == 0, done.stdout + done.stderr
    found = lines(tmp_path / "out")
    assert {line["part"] for line in found} == {"works", "engine", "plan", "results"}
    assert all(line["ok"] and line["device"] == "cpu" for line in found)
    assert {"exactness, trained, float64", "a process group", "MTT-VL's identity", "checkpoint and resume"} <= {
        line["check"] for line in found
    }
    # a process that was stopped has written what it had: the next one begins after that
    assert kit.main([*options, "--part", "results"]) == 0 and lines(tmp_path / "out") == found
    assert list((tmp_path / "out").glob("pairs_ptm_st_*.safetensors"))


def test_a_part_that_takes_too_long_is_stopped_and_said_so(tmp_path):
    done = script("kit.py", "--tiny", "--minutes", "0.075", "--parts", "results", "--work", tmp_path, "--out", tmp_path)
    assert done.returncode == 1 and "results: stopped after" in done.stdout


@pytest.fixture
def photos(tmp_path):
    """A dataset of three photos in the form of a Karpathy file, with embeddings of its captions and weights."""
    data = tmp_path / "data"
    (data / "images").mkdir(parents=True)
    entries = []
    for number, split in enumerate(("train", "val", "test")):
        Image.new("RGB", (32, 24), (80 * number, 90, 100)).save(data / "images" / f"{number}.jpg")
        sentences = [{"raw": f"Photo {number}.", "tokens": ["photo"], "sentid": number}]
        entries.append({"filename": f"{number}.jpg", "split": split, "sentences": sentences, "imgid": number})
    (data / "dataset_flickr8k.json").write_text(json.dumps({"images": entries}))
    weights, texts = tmp_path / "weights.safetensors", tmp_path / "texts.safetensors"
    import torch

    save_file({"a": torch.ones(1)}, weights)
    write_row_file(texts, "texts", [caption_digest(f"photo {n}") for n in range(3)], torch.ones(3, 4).half(), "")
    return ["--data", str(data), "--weights", str(weights), "--texts", str(texts)]


def test_a_pack_holds_what_the_product_reads(modules, photos, tmp_path, capsys):
    module = modules("pack")
    pack, wheels = tmp_path / "pack", tmp_path / "wheels"
    wheels.mkdir()
    with zipfile.ZipFile(wheels / "some-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("some.py", "")
    assert module.main([*photos, "--out", str(pack), "--size", "16", "--wheels", str(wheels)]) == 0
    assert (pack / "wheels" / "some-1.0-py3-none-any.whl").is_file()
    assert len([path for path in pack.rglob("*") if path.is_file()]) == 6, "photos are one file, not thousands"
    root = module.unpack(pack, tmp_path / "work")
    entries = json.loads((root / module.ANNOTATIONS).read_text())["images"]
    assert entries[1] == {"filename": "1.jpg", "split": "val", "sentences": [{"raw": "Photo 1."}]}
    with Image.open(root / module.IMAGES / "2.jpg") as image:
        assert image.size == (16, 16)
    whole = (tmp_path / "texts.safetensors").read_bytes()
    assert (root / module.TEXTS).read_bytes() == whole and not list(pack.glob("*.whole"))
    capsys.readouterr()
    assert modules("kit").main(["--dry-run", "--pack", str(pack), "--work", str(tmp_path / "work")]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "missing: nothing"


def test_a_pack_that_is_too_large_is_refused(modules, photos, tmp_path, capsys):
    assert modules("pack").main([*photos, "--out", str(tmp_path / "pack"), "--limit", "0.0001"]) == 1
    assert "lower --size or --quality" in capsys.readouterr().out


def test_lists_of_packages_are_read_as_they_come(modules):
    found = modules("pack")._names(
        "Package Version\nPyYAML 6.0\njinja2==3.1, docstring_parser,typing-extensions ; python\n"
    )
    assert {"pyyaml", "jinja2", "docstring-parser", "typing-extensions"} <= found
