"""Settings of the teachers."""

from dataclasses import dataclass
from typing import Literal

from pairstill.config.checks import require, require_positive
from pairstill.config.roles import setting


@dataclass(frozen=True)
class TeacherConfig:
    """Training of the teachers, whose parameters after every epoch are the expert trajectories.

    Attributes:
        num_experts: number of independent teachers.
        epochs: epochs of each teacher; the last snapshot has this number.
        batch_size: pairs in a mini-batch.
        lr_image: learning rate of the image side (the tower and its head, as far as they are trained).
        lr_text: learning rate of the text head.
        momentum: momentum of SGD; the paper's text says 0.9, its authors' trajectories were made with 0.
        weight_decay: weight decay of SGD; the paper's text says 5e-4, its authors' trajectories were made with 0.
        captions: `all` visits every caption in an epoch, `sample` every image once with a random caption.
        augment: `paper` is random resized crop 0.5-1, flip and RandAugment(2, 5): of every mini-batch anew with a
            trained image tower, of `views` behind a frozen one.
        views: behind a frozen tower with `augment: paper`, how many augmented views of each training image have their
            features computed, once for all teachers; every epoch of every teacher draws one of them for each image.
        image_is_view: whether the image as it is counts among the views, as one more.
        keep: `endpoints` stores only the snapshots that the phases need, `all` every epoch.
    """

    num_experts: int = setting(2, role="extent")
    epochs: int = 8
    batch_size: int = 64
    lr_image: float = 0.1
    lr_text: float = 0.1
    momentum: float = 0.0
    weight_decay: float = 0.0
    captions: Literal["all", "sample"] = "sample"
    augment: Literal["none", "paper"] = "none"
    views: int | None = None
    image_is_view: bool = False
    keep: Literal["endpoints", "all"] = setting("endpoints", role="extent")

    def __post_init__(self) -> None:
        require_positive(
            "teacher",
            num_experts=self.num_experts,
            epochs=self.epochs,
            batch_size=self.batch_size,
            lr_image=self.lr_image,
            lr_text=self.lr_text,
        )
        require(0 <= self.momentum < 1, f"teacher.momentum is {self.momentum}; it must be in [0, 1)")
        require(self.weight_decay >= 0, f"teacher.weight_decay is {self.weight_decay}; it must not be negative")
        if self.views is not None:
            require_positive("teacher", views=self.views)
            require(
                self.augment == "paper",
                f"teacher.views is {self.views} but teacher.augment is {self.augment}: views are augmented; set "
                "teacher.augment to paper, or leave views out",
            )
        require(
            self.views is not None or not self.image_is_view,
            "teacher.image_is_view is on but teacher.views is not set: there are no views to count the image among; "
            "set teacher.views, or leave image_is_view out",
        )
        require(self.batch_size >= 2, "teacher.batch_size is 1; a contrastive loss needs at least 2 pairs")
