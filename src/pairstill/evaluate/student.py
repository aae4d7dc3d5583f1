"""Training a student on distilled phases, one after the other (progressive)."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pairstill.config import StudentConfig
from pairstill.core.errors import NumericalError
from pairstill.core.rng import make_generator
from pairstill.distilled import DistilledPhase
from pairstill.encoders.image import to_channels_last
from pairstill.model.dual_encoder import DropoutMasks, DualEncoder, ModelFactory, Parameters
from pairstill.model.functional import LossName, least_pairs, pair_loss
from pairstill.teachers.training import sgd

TOWER_CHUNK = 50
Augmentation = Callable[[Tensor, torch.Generator], Tensor]


@dataclass(frozen=True)
class StudentPhase:
    """A distilled phase as a student sees it.

    Attributes:
        images: pixels, or features of a frozen tower, (pairs, ...).
        texts: text embeddings (pairs, width).
        similarity: (pairs, pairs), or None for the identity under InfoNCE.
        lr_image: rate of the image side.
        lr_text: rate of the text side.
        augment: changes the pixels of a mini-batch at random, or None.
    """

    images: Tensor
    texts: Tensor
    similarity: Tensor | None
    lr_image: float
    lr_text: float
    augment: Augmentation | None = None


def student_phases(
    phases: Sequence[DistilledPhase], loss: LossName, tower: nn.Module | None, device: torch.device
) -> list[StudentPhase]:
    """Put distilled phases on the device, run once through the frozen tower when there is one."""
    seen = []
    for phase in phases:
        images = to_channels_last(phase.images.to(device))
        if tower is not None:
            with torch.no_grad():
                images = torch.cat([tower(chunk) for chunk in images.split(TOWER_CHUNK)])
        similarity = phase.similarity.to(device) if loss == "wbce" else None
        texts = phase.text_embeddings.to(device)
        seen.append(StudentPhase(images, texts, similarity, phase.inner_lr_image, phase.inner_lr_text))
    return seen


def train_student(
    factory: ModelFactory,
    model: DualEncoder,
    phases: Sequence[StudentPhase],
    loss: LossName,
    config: StudentConfig,
    *seed: int | str,
    batch_size: int,
) -> Iterator[tuple[int, Parameters]]:
    """Train a student through the phases and yield at every epoch that is to be validated.

    Each phase is its own SGD run from where the last one ended: its own learned rates, a fresh momentum, and the rates
    times 0.1 from half-way on. Every epoch is a permutation, so that every pair is seen once, but for
    one that is left alone in a last mini-batch under InfoNCE (`least_pairs`).

    Args:
        factory: draws the initial heads and the dropout masks.
        model: the structure.
        phases: the distilled phases in order.
        loss: `wbce` or `infonce`.
        config: the students' settings.
        seed: seed of this student.
        batch_size: pairs in a mini-batch.

    Yields:
        Epochs done over all phases, and the live parameters (copy them to keep them).

    Raises:
        NumericalError: the loss is not finite; the message names phase and epoch.
    """
    parameters = {n: v.requires_grad_() for n, v in factory.initial_parameters(*seed).items()}
    for number, phase in enumerate(phases, start=1):
        rates = {"image": phase.lr_image, "text": phase.lr_text}
        optimizer = sgd(parameters, rates, config.momentum, config.weight_decay)
        for epoch in range(1, config.epochs + 1):
            if epoch == config.epochs // 2 + 1 and config.epochs > 1:
                for group in optimizer.param_groups:
                    group["lr"] *= 0.1
            generator = make_generator(*seed, "phase", number, "epoch", epoch)
            value = torch.zeros(())
            for batch, masks in _batches(factory, phase, batch_size, least_pairs(loss), generator):
                value = pair_loss(model, parameters, batch, loss, masks)
                optimizer.zero_grad(set_to_none=True)
                value.backward()
                optimizer.step()
            value = value.detach()
            if not bool(value.isfinite()):
                raise NumericalError(
                    f"student: the loss is {float(value)} in epoch {epoch} of phase {number}; its rates are {rates}"
                )
            if epoch % config.validate_every == 0 or epoch == config.epochs:
                yield (number - 1) * config.epochs + epoch, parameters


def _batches(
    factory: ModelFactory, phase: StudentPhase, batch_size: int, least: int, generator: torch.Generator
) -> Iterator[tuple[tuple[Tensor, Tensor, Tensor | None], DropoutMasks | None]]:
    """Yield the mini-batches of an epoch with at least `least` pairs: images, texts, similarities; dropout masks."""
    for index in torch.randperm(len(phase.images), generator=generator).split(batch_size):
        if len(index) < least:
            continue
        index = index.to(phase.images.device)
        similarity = None if phase.similarity is None else phase.similarity[index][:, index]
        masks = factory.draw_masks(len(index), generator)
        images = phase.images[index] if phase.augment is None else phase.augment(phase.images[index], generator)
        yield (images, phase.texts[index], similarity), masks
