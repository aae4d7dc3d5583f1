"""Settings of the downstream tasks; imports nothing heavy."""

from dataclasses import dataclass
from typing import Literal

from pairstill.config.bounds import check_bounds
from pairstill.core.errors import ConfigError

PLACE = "{}"


@dataclass(frozen=True)
class ZeroShot:
    """Zero-shot classification: which of the class names, put into prompts, is nearest to an image.

    Attributes:
        source: `folder` (a folder of images for each class), `huggingface` (a column of images and one of classes) or
            `captions` (the run's own test images, those whose captions name exactly one class).
        root: the folder; for huggingface, the hub name or a local folder.
        split: split of the hub dataset.
        image_column: column of the hub dataset with the images.
        class_column: column of the hub dataset with the classes, as class labels or as strings.
        class_names: for `folder`, a text file whose lines are a folder's name, a space and the class's name, of which
            what follows a comma is left out (as in ImageNet's lists of synsets); null takes the folders' names.
        classes: for `captions`, the words of each class, such as `dog|dogs|puppy`; the first is its name.
        templates: the prompts, with {} where the name goes; a class is the mean of its prompts' embeddings.
        num_classes: classes that are drawn at random; null takes all.
        class_seed: seed of that draw.
    """

    source: Literal["folder", "huggingface", "captions"] = "folder"
    root: str | None = None
    split: str = "test"
    image_column: str = "image"
    class_column: str = "label"
    class_names: str | None = None
    classes: tuple[str, ...] = ()
    templates: tuple[str, ...] = ("a photo of a {}",)
    num_classes: int | None = None
    class_seed: int = 0

    def __post_init__(self) -> None:
        check_bounds(self)
        if self.source == "captions" and (not self.classes or self.root is not None):
            raise ConfigError("zeroshot.source is captions: set zeroshot.classes, and leave zeroshot.root out")
        if self.source != "captions" and (self.classes or self.root is None):
            raise ConfigError(
                f"zeroshot.source is {self.source}: set zeroshot.root to where the images are, and leave "
                "zeroshot.classes, which are for captions, out"
            )
        if self.class_names is not None and self.source != "folder":
            raise ConfigError(f"zeroshot.source is {self.source}: zeroshot.class_names is for folder alone")
        bad = [template for template in self.templates if template.count(PLACE) != 1]
        if bad or not self.templates:
            raise ConfigError(f"zeroshot.templates is {self.templates}; each must hold {PLACE} once, and one is needed")
        if self.num_classes is not None and self.num_classes < 2:
            raise ConfigError(f"zeroshot.num_classes is {self.num_classes}; it must be at least 2")


@dataclass(frozen=True)
class CocoQa:
    """COCO-QA as retrieval: which of all answers, put after its question, is nearest to the image.

    Attributes:
        root: folder of the original files: a folder for each split (train, test) with questions.txt, answers.txt,
            img_ids.txt and types.txt, a line for each question.
        images: folder with COCO's images, at any depth, such as COCO_val2014_000000000042.jpg.
        split: the split whose questions are asked; the candidates are the answers of all splits.
        max_questions: questions that are drawn at random; null asks all.
        question_seed: seed of that draw.
    """

    root: str | None = None
    images: str | None = None
    split: Literal["train", "test"] = "test"
    max_questions: int | None = None
    question_seed: int = 0

    def __post_init__(self) -> None:
        check_bounds(self)
        if self.root is None or self.images is None:
            raise ConfigError("set cocoqa.root to the folder of COCO-QA, and cocoqa.images to that of COCO's images")
        if self.max_questions is not None and self.max_questions < 1:
            raise ConfigError(f"cocoqa.max_questions is {self.max_questions}; it must be above 0")
