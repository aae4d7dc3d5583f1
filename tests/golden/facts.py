"""The facts that must stay while the code is rebuilt: resolved settings, keys of results, options, learned values.

`python tests/golden/facts.py` writes them anew, which is right only when a number or a name was meant to change; the
commit says why. `--bits FILE` writes digests of the very bits instead, to compare states of the code on one machine.
"""

import hashlib
import json
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from pairstill.cli import build_parser, main
from pairstill.cli.command import settings_from
from pairstill.config import RunConfig
from pairstill.evaluate.measurement import closed_form_name, made_name, measured_as
from pairstill.methods import METHODS, with_method
from pairstill.run.folder import plain
from pairstill.storage import load_tensors
from pairstill.tools.reproduce.paper import read_tables
from pairstill.tools.reproduce.rows import base_of, methods_rows, table_rows

HERE = Path(__file__).parent
CONFIGS = HERE.parents[1] / "configs"
TINY: dict[str, Any] = yaml.safe_load((HERE.parent / "recipes" / "tiny.yaml").read_text())
FROZEN = ("--image.trainable=false", "--heads.image=true", "--heads.width=8", "--teacher.keep=all")


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


@cache
def _loaded(*options: str) -> RunConfig:
    return settings_from(options)


def load(options: list[str]) -> RunConfig:
    """Return the settings that options amount to; many rows read one file."""
    return _loaded(*options)


@cache
def rows() -> dict[str, RunConfig]:
    """Return every row that can be measured, with its settings as its method sets them."""
    return dict(_rows())


def _rows() -> Iterator[tuple[str, RunConfig]]:
    for row in methods_rows(CONFIGS):
        yield f"flickr8k/{row.name}", with_method(row.load(load))
    tables = read_tables(CONFIGS / "paper")
    for scale in ("paper", "scenes", "flickr8k"):
        base = base_of(scale, CONFIGS, load)
        for table in tables:
            if table.command is None and (base is None or table.scaled):
                for row in table_rows(tables, table, base, CONFIGS, load):
                    yield f"{scale}/{table.name}/{row.name}", with_method(row.load(load))


def settings() -> dict[str, str]:
    """Return a digest of the resolved settings of every row."""
    return {name: _digest(plain(config)) for name, config in rows().items()}


def measurements() -> dict[str, str]:
    """Return a digest of the keys under which every row's results are kept."""
    found = {}
    for name, config in rows().items():
        kept = ("full", "random", made_name(config), closed_form_name(config))
        found[name] = _digest(
            [[row, measured_as(config, row, "strict"), measured_as(config, row, "paper")] for row in kept]
        )
    return found


def options() -> dict[str, list[str]]:
    """Return the options of every command."""
    found: dict[str, list[str]] = {}

    def walk(name: str, parser: Any) -> None:
        found[name] = sorted({text for action in parser._actions for text in action.option_strings})
        for action in parser._actions:
            nested = getattr(action, "_name_parser_map", None)
            for below, inner in (nested or {}).items():
                walk(f"{name} {below}", inner)

    walk("pairstill", build_parser())
    return found


def _runs(folder: Path) -> Iterator[tuple[str, Path]]:
    """Do a tiny run of every method behind a frozen tower, and one of PTM-ST with a trained one."""
    tiny, teachers = folder / "tiny.yaml", folder / "teachers"
    tiny.write_text(yaml.safe_dump({**TINY, "cache_dir": str(folder / "cache")}))
    jobs = [(method.name, method, FROZEN, teachers) for method in METHODS]
    jobs.append(("ptm_st_trained", next(m for m in METHODS if m.name == "ptm_st"), (), folder / "trained"))
    for name, method, more, shared in jobs:
        stage = "distill" if method.rule is None else "select"
        command = [stage, "--config", str(tiny), "--run_dir", str(folder / name), f"--method={method.name}", *more]
        assert main([*command, f"--trajectories_dir={shared}"]) == 0, name
        yield name, folder / name / "distilled" / "distilled.safetensors"


def learned(*, bits: bool) -> dict[str, Any]:
    """Return what tiny runs of every method learn: digests of the bits, or sums, which other processors share."""
    found: dict[str, Any] = {}
    with TemporaryDirectory() as folder:
        for name, path in _runs(Path(folder)):
            # the digests of photos are those of files that other versions of zlib write otherwise
            stored = sorted(load_tensors(path).items())
            tensors = {key: value for key, value in stored if not key.endswith("/photos")}
            if bits:
                found[name] = {
                    k: hashlib.sha256(v.contiguous().numpy().tobytes()).hexdigest()[:16] for k, v in tensors.items()
                }
            else:
                found[name] = {
                    k: [
                        list(v.shape),
                        *(float(f"{x:.4g}") for x in (v.double().sum(), v.double().square().sum().sqrt())),
                    ]
                    for k, v in tensors.items()
                }
    return found


FACTS = {"settings": settings, "measurements": measurements, "options": options}


def record() -> None:
    """Write the facts as they are now."""
    for name, facts in {**FACTS, "learned": lambda: learned(bits=False)}.items():
        (HERE / f"{name}.json").write_text(json.dumps(facts(), indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--bits"]:
        Path(sys.argv[2]).write_text(json.dumps(learned(bits=True), indent=1) + "\n")
    else:
        record()
