"""Pack what the kit needs on a bare machine into one folder that git ignores: photos, captions, weights, embeddings.

    python benchmarks/gpu/pack.py --data DATA --weights WEIGHTS --installed PACKAGES.txt --wheels WHEELS

DATA is a folder as `data.source karpathy` reads it, with dataset_flickr8k.json and images; WEIGHTS is a safetensors
file of mobilenetv1_075; PACKAGES.txt lists what the machine has, one a line or separated by commas; WHEELS is a folder
of wheels to bring along. The embeddings are MiniLM's, as float16; the machine needs no MiniLM. Captions and
embeddings are compressed, and the photos are one archive, because what carries them may count a file as more than its
bytes; the kit unpacks them. A folder above `--limit` is an error.
"""

import argparse
import io
import json
import lzma
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "src"))
ANNOTATIONS, IMAGES, WEIGHTS, TEXTS = "captions.json", "images", "mobilenetv1_075.safetensors", "texts.safetensors"
XZ = ({"id": lzma.FILTER_LZMA2, "preset": 1, "lp": 1, "pb": 1},)  # numbers of two bytes
IMPORTS = """
import pairstill.analyze.run, pairstill.tools.bench.run, pairstill.cli, pairstill.run.pipeline, pairstill.tools.plan
import torch.distributed.run, torch.profiler, timm
from pairstill.cli.command import settings_parser
settings_parser("run", "every option")
"""
"""What the kit imports, at once or later."""
BLOCKED = """
import importlib.machinery, sys
class Finder(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in {blocked!r} else super().find_spec(name, path, target)
sys.meta_path[sys.meta_path.index(importlib.machinery.PathFinder)] = Finder
"""
"""Python as it would be without some modules: asked for, they are not found."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the folder and say what it holds, and which wheels to bring."""
    asked = _arguments(arguments)
    if asked.installed is not None:
        missing = wheels_to_bring(_names(asked.installed.read_text()))
        brought = {_normal(path.name.split("-")[0]) for path in (asked.wheels or Path("/none")).glob("*.whl")}
        print(f"wheels to bring: {' '.join(missing) or 'none'}")
        if lacking := [name for name in missing if _normal(name) not in brought]:
            print(f"  pip download --no-deps -d WHEELS {' '.join(lacking)}")
            if asked.wheels is not None:
                return 1
    if asked.data is None:
        return 0
    pack(asked)
    total = sum(path.stat().st_size for path in asked.out.rglob("*") if path.is_file())
    print(f"{asked.out}: {total / 1e6:.1f} MB")
    if total > 1e6 * asked.limit:
        print(f"more than {asked.limit:g} MB: lower --size or --quality")
        return 1
    return 0


def _arguments(arguments: Sequence[str] | None) -> Any:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--annotations", default="dataset_flickr8k.json")
    parser.add_argument("--images", default="images")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--texts", type=Path, help="embeddings from `pairstill prepare --texts_out`; else encoded here")
    parser.add_argument("--cache_dir", default="~/.cache/pairstill")
    parser.add_argument("--installed", type=Path)
    parser.add_argument("--wheels", type=Path)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--quality", type=int, default=80)
    parser.add_argument("--limit", type=float, default=60, help="MB")
    parser.add_argument("--out", type=Path, default=ROOT / ".gpu_pack")
    return parser.parse_args(arguments)


def pack(asked: Any) -> None:
    """Write the folder anew."""
    from pairstill.core.provenance import commit
    from pairstill.run.reuse import code_digest

    shutil.rmtree(asked.out, ignore_errors=True)
    asked.out.mkdir(parents=True)
    content = json.loads((asked.data / asked.annotations).read_text())
    entries = [_entry(entry) for entry in content["images"]]
    _compress(asked.out / ANNOTATIONS, json.dumps({"images": entries}, separators=(",", ":")).encode())
    with zipfile.ZipFile(asked.out / f"{IMAGES}.zip", "w") as photos:  # stored: JPEGs do not compress
        for entry in entries:
            photos.writestr(entry["filename"], _shrunk(asked.data / asked.images / entry["filename"], asked))
    shutil.copyfile(asked.weights, asked.out / WEIGHTS)
    _compress(asked.out / TEXTS, (asked.texts or _encode(asked)).read_bytes())
    for wheel in (asked.wheels or Path("/none")).glob("*.whl"):
        (asked.out / "wheels").mkdir(exist_ok=True)
        shutil.copy(wheel, asked.out / "wheels")
    made = {"commit": commit(), "code": code_digest(ROOT / "src" / "pairstill"), "size": asked.size}
    (asked.out / "pack.json").write_text(json.dumps({**made, "quality": asked.quality}))


def _entry(entry: dict[str, Any]) -> dict[str, Any]:
    """Return an image of a Karpathy file without what nobody reads."""
    name = "/".join(part for part in (entry.get("filepath"), entry["filename"]) if part)
    sentences = [{"raw": sentence["raw"]} for sentence in entry["sentences"]]
    return {"filename": name, "split": entry["split"], "sentences": sentences}


def _shrunk(source: Path, asked: Any) -> bytes:
    from PIL import Image

    with Image.open(source) as image:
        small = image.convert("RGB").resize((asked.size, asked.size), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=asked.quality, optimize=True)
    return buffer.getvalue()


def _encode(asked: Any) -> Path:
    """Return the file of MiniLM's embeddings of all captions, encoded now unless they are in the cache."""
    from pairstill.config import DataConfig, ImageConfig, RunConfig, TextConfig
    from pairstill.run.encoded import EncodedFiles
    from pairstill.run.pipeline import Run

    made = asked.out.with_suffix(".making")
    data = DataConfig("karpathy", str(asked.data), asked.annotations, asked.images)
    config = RunConfig(
        run_dir=str(made / "run"),
        cache_dir=asked.cache_dir,
        device="cpu",
        data=data,
        image=ImageConfig(size=32),
        text=TextConfig("minilm", "mean"),
    )
    pipeline = Run(config)
    pipeline.prepare()
    pipeline.write_encoded(EncodedFiles(texts=made / TEXTS, dtype="float16"))
    kept = asked.out / f"{TEXTS}.whole"
    (made / TEXTS).replace(kept)
    shutil.rmtree(made)
    return kept


def _compress(path: Path, content: bytes) -> None:
    path.with_name(f"{path.name}.xz").write_bytes(lzma.compress(content, filters=XZ))
    path.with_name(f"{path.name}.whole").unlink(missing_ok=True)


def unpack(pack: Path, work: Path) -> Path:
    """Unpack what is packed into `work`, and return the folder that `data.root` is to be."""
    root = work / "data"
    root.mkdir(parents=True, exist_ok=True)
    for name in (ANNOTATIONS, TEXTS):
        if not (root / name).is_file():
            made = root / f"{name}.making"
            made.write_bytes(lzma.decompress((pack / f"{name}.xz").read_bytes()))
            made.rename(root / name)
    if not (root / IMAGES).exists():
        # a folder of this name is whole: a part of the kit may be stopped while it unpacks
        made = root / f"{IMAGES}.making"
        with zipfile.ZipFile(pack / f"{IMAGES}.zip") as photos:
            photos.extractall(made)
        made.rename(root / IMAGES)
    return root


def wheels_to_bring(installed: set[str]) -> list[str]:
    """Return the packages that the kit cannot do without and that are not installed there, by trying.

    Args:
        installed: names of what the machine has, in the normal form.
    """
    owners = {module: {_normal(name) for name in names} for module, names in packages_distributions().items()}
    absent = {module for module, names in owners.items() if not names & installed and module != "pairstill"}
    needed: list[str] = []
    while module := _first_missing(absent):
        absent.discard(module)
        needed += sorted(owners[module])
    return needed


def _first_missing(blocked: set[str]) -> str | None:
    """Return the first module that the kit imports although it is blocked, or None if it does without all of them."""
    script = BLOCKED.format(blocked=blocked) + f"sys.path.insert(0, {str(ROOT / 'src')!r})\n" + IMPORTS
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    if done.returncode == 0:
        return None
    found = re.findall(r"No module named '([^'.]+)", done.stderr)
    wanted = next((name for name in reversed(found) if name in blocked), None)
    if wanted is None:
        raise RuntimeError(f"the kit's imports fail here:\n{done.stderr}")
    return wanted


def _names(text: str) -> set[str]:
    """Return the packages of a list, one a line or separated by commas, with or without versions."""
    words = re.split(r"[,\n]", text)
    names = (re.match(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)", word) for word in words)
    return {_normal(found[1]).rstrip("-") for found in names if found}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    sys.exit(main())
