"""Training on real pairs: the teachers whose snapshots become trajectories, and any other model on real pairs."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from pairstill.config import MethodConfig, TeacherConfig
from pairstill.core.errors import NumericalError
from pairstill.core.rng import derive_seed, make_generator
from pairstill.encoders.split import EncodedSplit
from pairstill.model.dual_encoder import DualEncoder, ModelFactory, Parameters, split_sides
from pairstill.model.functional import least_pairs, pair_loss
from pairstill.teachers.trajectory import TrajectoryRecorder


@dataclass(frozen=True, kw_only=True)
class RealTraining:
    """How a model is trained on real pairs with InfoNCE.

    Attributes:
        epochs: passes over the pairs.
        batch_size: pairs in a mini-batch; a last batch of a single pair is left out, it has no negatives.
        lr_image: SGD rate of the image side.
        lr_text: SGD rate of the text side.
        momentum: SGD momentum.
        weight_decay: SGD weight decay.
        captions: `all` captions each epoch, or `sample` one of each image.
        augment: `none`, or `paper`: of pixels every mini-batch anew, of features those of the split's views.
    """

    epochs: int
    batch_size: int
    lr_image: float
    lr_text: float
    momentum: float
    weight_decay: float
    captions: Literal["all", "sample"]
    augment: Literal["none", "paper"] = "none"

    @staticmethod
    def of_teacher(config: TeacherConfig) -> "RealTraining":
        """Return the teachers' training."""
        return RealTraining(
            epochs=config.epochs,
            batch_size=config.batch_size,
            lr_image=config.lr_image,
            lr_text=config.lr_text,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            captions=config.captions,
            augment=config.augment,
        )


def sgd(parameters: Parameters, lr: dict[str, float], momentum: float, weight_decay: float) -> torch.optim.SGD:
    """Return SGD over leaf parameters with one group, and one rate, for each side that has parameters."""
    groups = [
        {"params": list(members.values()), "lr": lr[side]}
        for side, members in split_sides(parameters).items()
        if members
    ]
    return torch.optim.SGD(groups, lr=0.0, momentum=momentum, weight_decay=weight_decay)


def train_on_real_pairs(
    factory: ModelFactory,
    model: DualEncoder,
    initial: Parameters,
    split: EncodedSplit,
    training: RealTraining,
    *seed: int | str,
) -> Iterator[tuple[Parameters, float]]:
    """Train on a split and yield the parameters and the mean loss after every epoch.

    Args:
        factory: draws the dropout masks.
        model: the structure.
        initial: parameters to start from; they are copied.
        split: the real pairs.
        training: the settings.
        seed: everything random derives from it.

    Yields:
        The live parameters (copy them to keep them) and the epoch's mean loss.

    Raises:
        NumericalError: the loss is not finite; the message names the epoch.
    """
    parameters = {name: value.detach().clone().requires_grad_() for name, value in initial.items()}
    rates = {"image": training.lr_image, "text": training.lr_text}
    optimizer = sgd(parameters, rates, training.momentum, training.weight_decay)
    inputs = _image_inputs(split, training, *seed)
    for epoch in range(1, training.epochs + 1):
        generator = make_generator(*seed, "epoch", epoch)
        order = split.epoch_order(training.captions, generator)
        images_of = inputs(epoch)
        losses: list[Tensor] = []
        for number, index in enumerate(order.split(training.batch_size)):
            if len(index) < least_pairs("infonce"):
                continue
            images = images_of(split.caption_owner[index], number)
            masks = factory.draw_masks(len(index), generator)
            loss = pair_loss(model, parameters, (images, split.texts(index), None), "infonce", masks)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        mean = float(torch.stack(losses).mean())
        if mean != mean or mean in (float("inf"), float("-inf")):
            raise NumericalError(
                f"training on real pairs: the loss is {mean} in epoch {epoch}; lower teacher.lr_image or lr_text"
            )
        yield parameters, mean


Inputs = Callable[[Tensor, int], Tensor]
"""Returns what the model takes for these images in the mini-batch of this number."""


def _image_inputs(split: EncodedSplit, training: RealTraining, *seed: int | str) -> Callable[[int], Inputs]:
    """Return what gives the images' inputs in an epoch, augmented if that is asked for.

    Behind a frozen tower every image has one of its views in an epoch, which the seed and the epoch alone decide.
    """
    if training.augment == "none":
        return lambda epoch: lambda images, number: split.image_inputs(images)
    if split.views:

        def draw(epoch: int) -> Inputs:
            drawn = split.draw_views(make_generator(*seed, "views", epoch))
            return lambda images, number: split.view_inputs(images, drawn)

        return draw
    from pairstill.data.augment import TeacherAugmentation  # a second to import, and most runs do without

    augment = TeacherAugmentation()
    return lambda epoch: (
        lambda images, number: split.image_inputs(images, augment, derive_seed(*seed, "augment", epoch, number))
    )


def epochs_to_keep(teacher: TeacherConfig, distill: MethodConfig) -> tuple[int, ...]:
    """Return the snapshots that must be stored: every one, or only those that the method reads."""
    if teacher.keep == "all":
        return tuple(range(1, teacher.epochs + 1))
    return tuple(sorted(distill.epochs_read))


def record_expert(
    factory: ModelFactory,
    split: EncodedSplit,
    training: RealTraining,
    path: Path,
    *seed: int | str,
    keep: tuple[int, ...],
) -> Iterator[tuple[Parameters, float]]:
    """Train one expert and record its trajectory at `path`; yield the parameters and the mean loss after every epoch.

    Args:
        factory: builds the model and its initial parameters.
        split: the real training pairs.
        training: the teachers' settings.
        path: the expert's file; written whole, once the last epoch was taken.
        seed: seed of this expert: its heads, the order of its data and its dropout.
        keep: snapshots to store.

    Yields:
        The live parameters (copy them to keep them) and the epoch's mean loss.
    """
    model = factory.build()
    initial = factory.initial_parameters(*seed)
    recorder = TrajectoryRecorder(initial, keep)
    epochs = train_on_real_pairs(factory, model, initial, split, training, *seed)
    for parameters, loss in epochs:
        recorder.add(parameters)
        yield parameters, loss
    about: dict[str, object] = {"seed": list(seed), "training": training.__dict__}
    recorder.save(path, about)
