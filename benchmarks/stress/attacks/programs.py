"""Programs around the library that have set everything otherwise, and hand it what they should not."""

import logging
import os
import random
import signal
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch

import pairstill
from attacks.attack import Attack, Base, Step
from attacks.processes import FROZEN, settings_of
from pairstill.cli import main
from pairstill.cli.command import settings_from
from pairstill.core.errors import PairstillError
from pairstill.distilled import DistilledSet

KIND = "programs"


def programs(base: Base) -> list[Attack]:
    """Return the attacks by programs."""
    return [*_surroundings(base), *_sets(base)]


def seen() -> dict[str, Any]:
    """Return what a library could change in the process around it."""
    products = (torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.mkldnn.matmul)
    return {
        "torch's generator": torch.get_rng_state().tolist(),
        "numpy's generator": repr(np.random.get_state()),
        "python's generator": random.getstate(),
        "threads": torch.get_num_threads(),
        "default type": torch.get_default_dtype(),
        "default device": str(torch.get_default_device()),
        "modes": (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu")),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "products": [place.fp32_precision for place in products],
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "warnings": list(warnings.filters),
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT)],
        "figures": dict(dict.items(matplotlib.rcParams)),
        "logging": (logging.root.level, list(logging.root.handlers)),
    }


def _surroundings(base: Base) -> list[Attack]:
    """A whole run inside of them: the same results, and all is as it was."""
    around: dict[str, Callable[[], Any]] = {
        "nothing": lambda: None,
        "float64": lambda: torch.set_default_dtype(torch.float64),
        "float16": lambda: torch.set_default_dtype(torch.float16),
        "another device": lambda: torch.set_default_device("meta"),
        "no_grad": lambda: torch.no_grad().__enter__(),
        "inference_mode": lambda: torch.inference_mode().__enter__(),
        "autocast": lambda: torch.autocast("cpu", torch.bfloat16).__enter__(),
        "deterministic": lambda: torch.use_deterministic_algorithms(True),
        "medium precision": lambda: torch.set_float32_matmul_precision("medium"),
        "another seed": lambda: torch.manual_seed(77),
        "warnings as errors": lambda: warnings.simplefilter("error", RuntimeWarning),
        "floats that raise": lambda: np.seterr(all="raise"),
        "another style": lambda: matplotlib.rcParams.update({"font.size": 30}),
        "anomalies": lambda: torch.autograd.set_detect_anomaly(True),
    }

    def steps(prepare: Callable[[], Any], frozen: bool, how: str, folder: Path) -> list[Step]:
        line = [*settings_of(folder / "work"), *(FROZEN if frozen else ())]

        def program(_: Path) -> None:
            config = settings_from(line)
            prepare()
            before = seen()
            if how == "pipeline":
                pairstill.Run(config).run()
            elif main(["run", *line]) != 0:
                raise AssertionError("the command failed")
            after = seen()
            if changed := [key for key in before if before[key] != after[key]]:
                raise AssertionError(f"changed: {', '.join(changed)}")
            torch.set_default_device(None)

        return [program]

    found = []
    for number, (name, prepare) in enumerate(around.items()):
        for how in ("pipeline", "command"):
            frozen = (number + (how == "command")) % 2 == 1
            same = ("work/run", "frozen" if frozen else "run")
            found.append(
                Attack(KIND, f"{how} inside {name}", partial(steps, prepare, frozen, how), same=same, ends=(0,))
            )
    return found


def _sets(base: Base) -> list[Attack]:
    """Sets that are changed by hand: what is saved can be loaded, and items are copies."""

    def saved(change: Callable[[DistilledSet], DistilledSet], folder: Path) -> list[Step]:
        def program(_: Path) -> None:
            distilled = change(DistilledSet.load(base.path("run", "distilled")))
            try:
                distilled.save(folder / "work" / "set")
            except PairstillError:
                if any(path.is_file() for path in (folder / "work").rglob("*")):
                    raise AssertionError("refused, but something was written") from None
                raise
            DistilledSet.load(folder / "work" / "set")

        return [program]

    def edited(folder: Path) -> list[Step]:
        def program(_: Path) -> None:
            distilled, other = (DistilledSet.load(base.path("run", "distilled")) for _ in range(2))
            for item in distilled.dataset():
                item["image"].zero_()
                item["text_embedding"].zero_()
            distilled.phases[0].similarity.zero_()
            if any(not torch.equal(value, other.tensors()[name]) for name, value in distilled.tensors().items()):
                raise AssertionError("the set was changed")

        return [program]

    def phase(**values: Any) -> Callable[[DistilledSet], DistilledSet]:
        def change(distilled: DistilledSet) -> DistilledSet:
            first, *others = distilled.phases
            made = {key: value(first) if callable(value) else value for key, value in values.items()}
            return replace(distilled, phases=(replace(first, **made), *others))

        return change

    changes: dict[str, Callable[[DistilledSet], DistilledSet]] = {
        "nothing": lambda s: s,
        "no phases": lambda s: replace(s, phases=()),
        "another loss": lambda s: replace(s, loss="mse"),  # pyright: ignore[reportArgumentType]
        "provenance of objects": lambda s: replace(s, provenance={"a": object()}),
        "provenance of NaN": lambda s: replace(s, provenance={"a": float("nan")}),
        "provenance of surrogates": lambda s: replace(s, provenance={"a": "\ud800"}),
        "provenance without end": lambda s: replace(s, provenance={"a": _deep(5000)}),
        "keys that are numbers": lambda s: replace(s, provenance={1: 2, "1": 3}),
        "no encoder": lambda s: replace(s, image_encoder=None),  # pyright: ignore[reportArgumentType]
        "NaN in images": phase(images=lambda p: p.images * torch.nan),
        "fewer images": phase(images=lambda p: p.images[:1]),
        "grey images": phase(images=lambda p: p.images[:, :1]),
        "images of bytes": phase(images=lambda p: p.images.to(torch.uint8)),
        "images in half": phase(images=lambda p: p.images.half()),
        "images by views": phase(images=lambda p: p.images.transpose(2, 3)),
        "images with gradients": phase(images=lambda p: p.images.clone().requires_grad_()),
        "texts of another rank": phase(text_embeddings=lambda p: p.text_embeddings[None]),
        "another matrix": phase(similarity_factors={"matrix": torch.eye(2)}),
        "unknown factors": phase(similarity_factors={"a": torch.eye(6)}),
        "rate 0": phase(inner_lr_image=0.0),
        "rate NaN": phase(inner_lr_text=float("nan")),
        "rate of a tensor": phase(inner_lr_text=torch.tensor(0.1)),
        "captions missing": phase(captions=()),
        "captions of numbers": phase(captions=lambda p: tuple(range(len(p.captions)))),
        "captions of surrogates": phase(captions=lambda p: ("\ud800",) * len(p.captions)),
        "sources of None": phase(sources=lambda p: (None,) * len(p.sources)),
    }
    found = [Attack(KIND, f"saved with {name}", partial(saved, change)) for name, change in changes.items()]
    return [*found, Attack(KIND, "edited items", edited, ends=(0,))]


def _deep(levels: int) -> Any:
    found: Any = 1
    for _ in range(levels):
        found = [found]
    return found
