"""A run on made-up rows, and what its pairs and teachers take."""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from pairstill.config import RunConfig
from pairstill.core.rng import make_generator
from pairstill.core.schema import SPLITS, Split
from pairstill.data.loader import read_images
from pairstill.encoders.cache import CachedRows
from pairstill.encoders.split import TOWER_BATCH, EncodedSplit
from pairstill.evaluate.protocol import Splits
from pairstill.run.context import RunContext
from pairstill.teachers.training import RealTraining, epochs_to_keep, train_on_real_pairs
from pairstill.teachers.trajectory import TrajectoryRecorder

PROBE_BATCHES = 4
WALK = 1e-3  # of the parameters' own scale: how far the made-up teachers go in an epoch


def probe_context(config: RunConfig) -> RunContext:
    """Return the context of a run on made-up rows: the sizes are the real pairs', the values are not."""
    context = RunContext.open(config)
    with context.torch_state():
        for number in range(len(config.images)):
            tower = context.towers[number]
            splits = Splits(*(_made_up(tower, name) for name in ("train", "val", "test")))
            context = replace(context, memo=tower.with_splits(splits).memo)
    return context


def _made_up(context: RunContext, split: Split) -> EncodedSplit:
    """Return a split of random rows, with as many images and captions as the real one."""
    images, owner = len(context.manifest.split(split)), torch.tensor(context.manifest.caption_owner(split))
    size, generator = context.image.spec.size, make_generator("plan", split)
    if context.tower is None:
        # one image's memory stands for all
        one = torch.randint(256, (1, 3, size, size), generator=generator, dtype=torch.uint8)
        rows = one.expand(images, 3, size, size)
    else:
        shape = context.image.spec.features
        rows = torch.randn(images if len(shape) == 1 else 1, *shape, generator=generator).expand(images, *shape)
    texts = torch.randn(len(owner), context.text.spec.width, generator=generator)
    made_up, views = CachedRows([rows]), context.num_views if split == "train" else 0
    return EncodedSplit(made_up, CachedRows([texts]), owner, context.image.spec, context.device, (made_up,) * views)


def seconds_of(call: Callable[[], Any], device: torch.device) -> float:
    """Return how long `call` takes until the device is done with it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    began = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def encoding_seconds(probe: RunContext) -> float:
    """Return the seconds of reading and encoding all pairs, from one batch of each; texts are encoded once."""
    manifest = probe.manifest
    paths = manifest.image_paths("train")[:TOWER_BATCH]
    spec, background = probe.image.spec, manifest.background
    read = partial(read_images, paths, spec.size, spec.resizing, background=background)
    pixels = seconds_of(read, probe.device) / len(paths)
    if probe.tower is not None:
        tower = probe.tower
        batch = torch.zeros(len(paths), 3, spec.size, spec.size, device=probe.device)
        with torch.no_grad():
            tower(batch)
            pixels += seconds_of(lambda: tower(batch), probe.device) / len(paths)
    images = sum(len(manifest.split(split)) for split in SPLITS) * pixels
    if probe.num_views:
        view = pixels + _augmenting_seconds(len(paths), spec.size)
        images += probe.num_views * len(manifest.split("train")) * view
    if probe.one_of is not None and probe.one_of.number:
        return images
    captions = manifest.captions("train")[: 2 * TOWER_BATCH]
    probe.text.encode(captions[:8])
    text = seconds_of(lambda: probe.text.encode(captions), probe.device) / len(captions)
    return images + sum(len(manifest.captions(split)) for split in SPLITS) * text


def _augmenting_seconds(images: int, size: int) -> float:
    """Return the seconds of augmenting one image, on the CPU, of a batch of so many."""
    from pairstill.data.augment import TeacherAugmentation  # a second to import, and most runs do without

    augment, pixels = TeacherAugmentation(), torch.zeros(images, 3, size, size)
    augment(pixels[:2], make_generator("plan", "augment"))
    return seconds_of(lambda: augment(pixels, make_generator("plan", "augment")), torch.device("cpu")) / images


def batch_seconds(probe: RunContext) -> float:
    """Return the seconds of a teacher's mini-batch."""
    config, train = probe.config.teacher, probe.splits.train
    size = config.batch_size
    initial, model = probe.factory.initial_parameters("plan"), probe.factory.build()

    def epoch(batches: int) -> None:
        rows = torch.arange(min(batches * size, train.num_images))
        few = EncodedSplit(
            CachedRows([train.images.take(rows)]),
            CachedRows([train.text_embeddings.take(rows)]),
            rows,
            train.spec,
            train.device,
            tuple(CachedRows([view.take(rows)]) for view in train.views),
        )
        training = replace(RealTraining.of_teacher(config), epochs=1, captions="all")
        list(train_on_real_pairs(probe.factory, model, initial, few, training, "plan"))

    epoch(1)
    batches = max(1, min(PROBE_BATCHES, train.num_images // size))
    return seconds_of(lambda: epoch(batches), probe.device) / batches


def write_expert(probe: RunContext, folder: Path) -> Path:
    """Write a teacher that walked at random, as a real one is written, and return its file."""
    initial, generator = probe.factory.initial_parameters("plan"), make_generator("plan", "walk")
    keep = epochs_to_keep(probe.config.teacher, probe.config.distill)
    recorder, now = TrajectoryRecorder(initial, keep), initial
    for _ in range(probe.config.teacher.epochs):
        now = {
            name: value + WALK * torch.randn(value.shape, generator=generator).to(value) for name, value in now.items()
        }
        recorder.add(now)
    path = folder / "trajectories" / "expert_0000.safetensors"
    recorder.save(path, {"made": "by pairstill plan"})
    return path
