"""Images with one class each: from class folders, from a hub dataset, or from what captions name."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from pairstill.core.errors import DataError, list_problems
from pairstill.core.rng import make_generator
from pairstill.data.captions import plain_caption
from pairstill.data.checks import Checking, check_images
from pairstill.data.images import decode_rgb
from pairstill.data.inside import path_of
from pairstill.data.manifest import Manifest
from pairstill.data.sources.extraction import extract_once
from pairstill.data.sources.hub import load_split
from pairstill.data.sources.huggingface import extract_pairs
from pairstill.data.sources.raw import RawPair
from pairstill.data.tasks.settings import ZeroShot
from pairstill.storage import digest

_VERSION = 3  # of what is extracted from hub datasets


@dataclass(frozen=True)
class LabelledImages:
    """Images with one class each, checked.

    Attributes:
        paths: the image files.
        digests: SHA-256 of their content.
        labels: the class of each image, as its index in `class_names`.
        class_names: as they go into prompts; every class has an image.
        rule: how the classes came to be, for people.
    """

    paths: tuple[Path, ...]
    digests: tuple[str, ...]
    labels: tuple[int, ...]
    class_names: tuple[str, ...]
    rule: str

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the images' contents and their classes, in order."""
        named = (self.class_names[label] for label in self.labels)
        return digest(*self.class_names, *(part for pair in zip(self.digests, named, strict=True) for part in pair))


def draw_classes(names: Sequence[str], task: ZeroShot) -> list[int]:
    """Return the classes that the task asks for, as indices in order.

    Raises:
        DataError: there are fewer than were asked for, or fewer than two.
    """
    if len(names) < max(2, task.num_classes or 0):
        raise DataError(f"{len(names)} classes were found but {task.num_classes or 2} are needed; ask for fewer")
    order = torch.randperm(len(names), generator=make_generator(task.class_seed, "zero-shot classes")).tolist()
    return sorted(order[: task.num_classes])


def read_folder(task: ZeroShot, checking: Checking) -> LabelledImages:
    """Return the images of class folders: those directly in a folder belong to its class.

    Names that start with a dot are left out; everything else in a class folder must be an image.

    Raises:
        DataError: there is no such folder, a folder has no name in `class_names`, two have the same, or images are bad.
    """
    root = path_of(str(task.root), "zeroshot.root")
    if not root.is_dir():
        raise DataError(f"zeroshot.root is {task.root!r}, which is no folder; give one with a folder for each class")
    folders = sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    names = _folder_names(folders, task.class_names)
    chosen = draw_classes(names, task)
    items = [
        (f"{folders[kind]}/{path.name}", label)
        for label, kind in enumerate(chosen)
        for path in sorted((root / folders[kind]).iterdir())
        if not path.name.startswith(".")
    ]
    return _checked(root, items, [names[kind] for kind in chosen], checking, f"class folders of {root.name}")


def _folder_names(folders: list[str], listing: str | None) -> list[str]:
    if listing is None:
        names = [folder.replace("_", " ") for folder in folders]
    else:
        path = path_of(listing, "zeroshot.class_names")
        if not path.is_file():
            raise DataError(f"zeroshot.class_names is {listing!r}, which is no file; each of its lines is FOLDER NAME")
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{path} cannot be read ({error}); write zeroshot.class_names as text in UTF-8") from error
        lines = (line.split(maxsplit=1) for line in text.splitlines() if line.strip())
        known = {line[0]: line[1].split(",")[0].strip() for line in lines if len(line) == 2}
        unnamed = [folder for folder in folders if folder not in known]
        if unnamed:
            raise DataError(f"{path} names no class for these folders:\n{list_problems(unnamed)}")
        names = [known[folder] for folder in folders]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"several folders have the same class name; make them differ:\n{list_problems(twice)}")
    return names


def read_hub(task: ZeroShot, checking: Checking) -> LabelledImages:
    """Return the images of a hub dataset, written into the cache as PNG, once.

    Raises:
        DataError: the dataset, the split or a column is missing, or images are bad.
        MissingDependencyError: the package datasets is not installed.
    """
    columns = {"zeroshot.image_column": task.image_column, "zeroshot.class_column": task.class_column}
    table = load_split(str(task.root), task.split, columns, "zeroshot.root and zeroshot.split")
    known = [name.replace("_", " ") for name in table.class_names]

    def caption(value: Any) -> Any:
        return known[value] if known and isinstance(value, int) and 0 <= value < len(known) else value

    decode = partial(decode_rgb, background=checking.background, max_pixels=checking.max_pixels)
    rules = (str(checking.max_pixels), checking.background)
    key = f"zeroshot-{digest(str(_VERSION), *rules, *columns.values(), *table.facts)[:16]}"

    def write(folder: Path) -> Iterator[RawPair | str]:
        return extract_pairs(folder, "test", table, decode, caption)

    raw = extract_once(checking.cache_dir, key, [write])
    if raw.unreadable:
        raise DataError(f"{len(raw.unreadable)} problems in {task.root}:\n{list_problems(raw.unreadable)}")
    names = known or sorted({pair.captions[0] for pair in raw.pairs})
    chosen = draw_classes(names, task)
    label_of = {names[kind]: label for label, kind in enumerate(chosen)}
    items = [(pair.image, label_of[pair.captions[0]]) for pair in raw.pairs if pair.captions[0] in label_of]
    return _checked(raw.image_root, items, list(label_of), checking, f"split {task.split} of {task.root}")


def read_captions(task: ZeroShot, manifest: Manifest) -> LabelledImages:
    """Return those of a run's test images whose captions name exactly one class.

    An image belongs to a class if more than half of its captions hold one of the class's words, and none holds a word
    of another class.

    Raises:
        DataError: a word stands for two classes, or a class has no image.
    """
    words = [tuple(kind.split("|")) for kind in task.classes]
    chosen = draw_classes([kind[0] for kind in words], task)
    words = [words[kind] for kind in chosen]
    flat = [word for kind in words for word in kind]
    if len(set(flat)) < len(flat) or not all(plain_caption(word) == word and " " not in word for word in flat):
        raise DataError(
            f"zeroshot.classes is {task.classes}; each is its words with | between them, in lower case, and a word "
            "stands for one class"
        )
    records = [
        (manifest.image_root / record.image, content, class_of(record.captions, words))
        for record, content in zip(manifest.split("test"), manifest.digests("test"), strict=True)
    ]
    found = [(path, content, kind) for path, content, kind in records if kind is not None]
    listing = ", ".join("|".join(kind) for kind in words)
    rule = (
        f"of {len(records)} test images, those with a word of the class ({listing}) "
        "in more than half of their captions and none of another class in any"
    )
    return _with_images_in_every_class(
        LabelledImages(
            paths=tuple(path for path, _, _ in found),
            digests=tuple(content for _, content, _ in found),
            labels=tuple(kind for _, _, kind in found),
            class_names=tuple(kind[0] for kind in words),
            rule=rule,
        )
    )


def class_of(captions: Sequence[str], words: Sequence[Sequence[str]]) -> int | None:
    """Return the only class that captions name, if more than half of them do.

    Args:
        captions: the captions of one image.
        words: the words of each class.

    Example:
        >>> class_of(["a dog runs", "the dogs play", "an animal"], [["dog", "dogs"], ["horse"]])
        0
    """
    texts = [frozenset(plain_caption(caption).split()) for caption in captions]
    named = [sum(not text.isdisjoint(kind) for text in texts) for kind in words]
    best = max(range(len(words)), key=named.__getitem__)
    alone = sum(count > 0 for count in named) == 1
    return best if alone and 2 * named[best] > len(captions) else None


def _checked(
    root: Path, items: list[tuple[str, int]], names: list[str], checking: Checking, rule: str
) -> LabelledImages:
    checks = list(check_images(root, [image for image, _ in items], checking))
    problems = [
        f"{image} {check.problem}" for (image, _), check in zip(items, checks, strict=True) if check.problem is not None
    ]
    if problems:
        raise DataError(f"{len(problems)} images of {root} cannot be used; remove them:\n{list_problems(problems)}")
    return _with_images_in_every_class(
        LabelledImages(
            paths=tuple(root / image for image, _ in items),
            digests=tuple(check.digest for check in checks),
            labels=tuple(label for _, label in items),
            class_names=tuple(names),
            rule=rule,
        )
    )


def _with_images_in_every_class(images: LabelledImages) -> LabelledImages:
    empty = [name for label, name in enumerate(images.class_names) if label not in images.labels]
    if empty:
        raise DataError(f"these classes have no image; leave them out:\n{list_problems(empty)}")
    return images
