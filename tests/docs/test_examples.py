"""What the pages of the documentation show is run as it stands."""

import json
import re
import shlex
from pathlib import Path

import pytest
import torch
from PIL import Image

from pairstill.cli import main
from pairstill.distilled import DistilledPhase, DistilledSet
from pairstill.exchange.folder import write_export
from pairstill.storage import read_sealed

DOCS = Path(__file__).parents[2] / "docs"


def examples(page):
    return re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))  # the cache goes there
    return tmp_path


def test_notebook_is_the_page_as_it_is_now():
    script = {"__file__": str(DOCS / "_hooks" / "notebook.py"), "__name__": "notebook"}
    exec((DOCS / "_hooks" / "notebook.py").read_text(encoding="utf-8"), script)
    assert (DOCS / "tour.ipynb").read_text(encoding="utf-8") == script["written"](), (
        "docs/tour.ipynb is not docs/python.md any more: run python docs/_hooks/notebook.py"
    )


def test_the_tour_runs_from_top_to_bottom(here, capsys):
    namespace = {}
    cells = json.loads((DOCS / "tour.ipynb").read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert [text + "\n" for text in code] == examples("python.md")
    for text in code:
        exec(compile(text, "tour.ipynb", "exec"), namespace)
    shown = capsys.readouterr().out
    assert "PTM-ST 8" in shown and "Full data 300" in shown
    assert "torch.Size([8, 3, 16, 16])" in shown and "torch.Size([4, 3, 16, 16])" in shown
    assert shown.splitlines()[-1] == "tensor(True)"
    assert len(list((here / ".cache" / "pairstill" / "teachers").glob("[!.]*"))) == 1  # of both runs


def test_the_ten_lines_of_pytorch_read_what_was_exported(here, capsys):
    generator = torch.Generator().manual_seed(0)
    phases = tuple(
        DistilledPhase(
            images=torch.randn(pairs, 3, 4, 4, generator=generator),
            text_embeddings=torch.randn(pairs, 6, generator=generator),
            similarity_factors={"matrix": torch.randn(pairs, pairs, generator=generator)},
            inner_lr_image=0.1,
            inner_lr_text=0.2,
            captions=("a caption",) * pairs,
            sources=("a.png",) * pairs,
        )
        for pairs in (25, 7)
    )
    encoder = {"mean": [0.5] * 3, "std": [0.5] * 3}
    distilled = DistilledSet(phases, encoder, {"width": 6}, {"kind": "linear"}, "wbce")
    write_export(distilled, "parquet", here / "exported", "", None)
    ten, with_pairstill = examples("exports.md")
    assert len([line for line in ten.splitlines() if line]) <= 10
    namespace = {}
    exec(compile(ten, "exports.md", "exec"), namespace)
    assert torch.equal(namespace["images"], phases[0].images) and torch.equal(
        namespace["texts"], phases[0].text_embeddings
    )
    assert torch.equal(namespace["similarity"], phases[0].similarity)
    index = namespace["index"]  # of the last mini-batch
    assert len(index) == 5 and torch.equal(namespace["image"], phases[0].images[index])
    assert torch.equal(namespace["wanted"], phases[0].similarity[index][:, index])
    exec(compile(with_pairstill, "exports.md", "exec"), {})
    assert capsys.readouterr().out.splitlines()[-1] == "0.1 0.2 a caption"


TINY = ["--device=cpu", "--image.size=16", "--distill.phases=[{num_pairs: 3, outer_steps: 1, endpoint: 3}]"]


@pytest.mark.parametrize(("source", "package"), [("webdataset", "webdataset"), ("huggingface", "datasets")])
def test_pairs_that_are_written_as_the_page_says_are_read_as_it_says(here, capsys, source, package):
    pytest.importorskip(package)
    generator, pairs = torch.Generator().manual_seed(0), {}
    for split, images in (("train", 4), ("val", 2), ("test", 2)):
        pairs[split] = []
        for number in range(images):
            pixels = torch.randint(256, (20, 20, 3), dtype=torch.uint8, generator=generator)
            Image.fromarray(pixels.numpy()).save(here / f"{split}{number}.jpg")
            pairs[split].append((f"{split}{number}.jpg", [f"caption {number}", f"another caption {number}"]))
    (code,) = (example for example in examples("your_data.md") if f"import {package}" in example)
    exec(compile(code, "your_data.md", "exec"), {"pairs": pairs})
    shown = (DOCS / "your_data.md").read_text(encoding="utf-8").replace("\\\n", " ")
    (command,) = re.findall(rf"^pairstill run (.*--data.source {source} .*)$", shown, re.MULTILINE)
    assert main(["prepare", *shlex.split(command), *TINY]) == 0
    assert "Ready: 8 images" in capsys.readouterr().err
    (run_dir,) = (here / "runs").iterdir()
    assert read_sealed(run_dir / "data.json")["captions"] == {"train": 8, "val": 4, "test": 4}


def test_the_guide_to_a_method_is_the_contributors(capsys):
    (guide,) = examples("adding_a_method.md")
    assert guide in (DOCS.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")  # which another test runs
