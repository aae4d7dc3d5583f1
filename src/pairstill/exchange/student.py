"""A trained student as a folder of its own: heads, image tower and settings; the text tower is named."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from pairstill.config import CaptionForm, HeadsConfig, ImageConfig, TextConfig
from pairstill.core.errors import ArtifactError, ConfigError
from pairstill.data.captions import caption_as
from pairstill.data.loader import normalise, read_images
from pairstill.encoders.frozen import frozen_part
from pairstill.encoders.image import ImageEncoder, build_image_encoder, is_dual
from pairstill.encoders.text import TextEncoder, build_text_encoder
from pairstill.exchange.public import public_name
from pairstill.model.dual_encoder import DualEncoder, ModelFactory, Parameters
from pairstill.storage import (
    load_tensors,
    read_sealed,
    save_tensors,
    temporary_folder,
    write_sealed,
    write_text_atomic,
    writing,
)
from pairstill.storage.owned import refuse_used

FORMAT, VERSION = "pairstill.student", 1
ABOUT, WEIGHTS, CARD = "student.json", "student.safetensors", "README.md"
BATCH = 64
_HEADS, _TOWER = "student.", "tower."


@dataclass(frozen=True)
class Student:
    """A trained student: photos and captions in, embeddings in one space out.

    Attributes:
        image: the image tower and what it expects of a photo.
        text: the text tower.
        model: the structure of what was trained.
        parameters: its values, on the device where it computes.
        tower: the image tower where it is frozen, or None where it is a part of the model.
        captions: how captions are written before they are encoded.
        facts: its recalls and how it was chosen.
        background: what shows through transparent pixels of photos, as `data.background` has it.
    """

    image: ImageEncoder
    text: TextEncoder
    model: DualEncoder
    parameters: Parameters
    tower: nn.Module | None
    captions: CaptionForm
    facts: Mapping[str, Any]
    background: str = "white"

    @torch.no_grad()
    def embed_images(self, paths: Sequence[Path | str]) -> Tensor:
        """Return embeddings (images, width) of photos, of unit length, on the CPU.

        Raises:
            DataError: a file is missing or does not decode; the message names it.
        """
        return self._joined(self._image_batches([Path(path) for path in paths]))

    @torch.no_grad()
    def embed_texts(self, captions: Sequence[str]) -> Tensor:
        """Return embeddings (captions, width) of captions, of unit length, on the CPU."""
        written = [caption_as(self.captions, caption) for caption in captions]
        return self._joined(self._text_batches(written))

    def _image_batches(self, paths: Sequence[Path]) -> Iterator[Tensor]:
        spec, device = self.image.spec, self._device
        for start in range(0, len(paths), BATCH):
            some = paths[start : start + BATCH]
            pixels = read_images(some, spec.size, spec.resizing, background=self.background)
            images = normalise(pixels.to(device), spec.mean, spec.std).contiguous(memory_format=torch.channels_last)
            images = images if self.tower is None else self.tower(images).float()
            yield functional_call(self.model, self.parameters, (images, None))[0]

    def _text_batches(self, captions: Sequence[str]) -> Iterator[Tensor]:
        for start in range(0, len(captions), BATCH):
            encoded = self.text.encode(captions[start : start + BATCH]).to(self._device)
            yield functional_call(self.model, self.parameters, (None, encoded))[1]

    def _joined(self, batches: Iterator[Tensor]) -> Tensor:
        found = [F.normalize(batch, dim=1).cpu() for batch in batches]
        return torch.cat(found) if found else torch.empty(0, self.parameters["text_head.project.weight"].shape[0])

    @property
    def _device(self) -> torch.device:
        return next(iter(self.parameters.values())).device


def save_student(student: Student, image: ImageConfig, text: TextConfig, heads: HeadsConfig, out: Path) -> None:
    """Write a student as a folder: `student.json`, `student.safetensors`, and a README that says how it is read.

    Args:
        student: the student.
        image: settings of its image tower, whose weights are written too unless it is a dual encoder's.
        text: settings of its text tower, which is named and not copied.
        heads: settings of its heads.
        out: the folder to make; it must not exist, or be empty.

    Raises:
        ConfigError: `out` holds something already, or the student cannot embed new captions.
        StorageError: it cannot be written; nothing of it is left.
    """
    if text.name == "precomputed":
        raise ConfigError(
            "text.name is precomputed: a student without a text tower embeds no new caption; name the tower that made "
            f"{text.file} in a run of its own"
        )
    refuse_used(out, "the student")
    spec = student.image.spec
    own = replace(image, weights=None, pretrained=False, features=None, size=spec.size, mean=spec.mean, std=spec.std)
    tensors = {f"{_HEADS}{name}": value for name, value in student.parameters.items()}
    if not is_dual(image.name):
        state = student.image.tower.state_dict()
        tensors |= {f"{_TOWER}{k}": v for k, v in state.items() if f"image_tower.{k}" not in student.parameters}
    about = {
        "format": FORMAT,
        "version": VERSION,
        "settings": {"image": asdict(own), "text": asdict(text), "heads": asdict(heads), "captions": student.captions},
        "image_encoder": spec.to_json(),
        "text_encoder": student.text.spec.to_json(),
        "facts": dict(student.facts),
        **({"background": student.background} if student.background != "white" else {}),
    }
    with temporary_folder(out) as beside, writing(out):
        folder = beside / out.name
        folder.mkdir()
        save_tensors(folder / WEIGHTS, tensors)
        write_sealed(folder / ABOUT, about)
        write_text_atomic(folder / CARD, _card(about))
        folder.replace(out)


def load_student(folder: Path | str, device: str = "cpu") -> Student:
    """Return the student in a folder that `pairstill student` wrote.

    Args:
        folder: the folder.
        device: where it computes, such as `cuda`.

    Raises:
        ArtifactError: the folder holds no student, is damaged, or a tower that it names is another now.
    """
    folder = Path(folder)
    about = read_sealed(folder / ABOUT, "format", "version", "settings", "image_encoder", "text_encoder", "facts")
    if (about["format"], about["version"]) != (FORMAT, VERSION):
        raise ArtifactError(
            f"{folder} is {about['format']!r} of version {about['version']}; this pairstill reads {FORMAT!r} of "
            f"version {VERSION}: write it again with `pairstill student`"
        )
    settings, stored = about["settings"], load_tensors(folder / WEIGHTS)
    channels = {name: tuple(settings["image"][name]) for name in ("mean", "std")}
    image_config, heads = ImageConfig(**{**settings["image"], **channels}), HeadsConfig(**settings["heads"])
    image, text = build_image_encoder(image_config), build_text_encoder(TextConfig(**settings["text"]))
    on = torch.device(device)
    parameters = {name.removeprefix(_HEADS): v.to(on) for name, v in stored.items() if name.startswith(_HEADS)}
    if is_dual(image_config.name):
        _check(folder, "image tower", about["image_encoder"], image.spec.to_json())
    else:
        own = {name.removeprefix(_TOWER): value for name, value in stored.items() if name.startswith(_TOWER)}
        trained = {k.removeprefix("image_tower."): v for k, v in parameters.items() if k.startswith("image_tower.")}
        image.tower.load_state_dict({**own, **{name: value.cpu() for name, value in trained.items()}})
        image = replace(image, spec=replace(image.spec, digest=str(about["image_encoder"]["digest"])))
    _check(folder, "text tower", about["text_encoder"], text.spec.to_json())
    factory = ModelFactory(image, image_config.trains, text.spec.width, heads, on, image_config.precision)
    tower = frozen_part(image, on, trains=image_config.trains)
    background = about.get("background", "white")
    return Student(image, text, factory.build(), parameters, tower, settings["captions"], about["facts"], background)


def _check(folder: Path, what: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    if before["digest"] != now["digest"]:
        raise ArtifactError(
            f"{folder} was trained with another {what}: {before['name']} had the digest {before['digest'][:16]}, and "
            f"has {str(now['digest'])[:16]} now; put the old weights back"
        )


def _card(about: Mapping[str, Any]) -> str:
    """Return what stands in the README."""
    facts = about["facts"]
    image, text = (public_name(about[f"{side}_encoder"]["name"]) for side in ("image", "text"))
    recall = f"{facts['retrieval_mean_recall']:.1f} %"
    return f"""# A student of distilled pairs

{facts["title"]}, {facts["num_pairs"]} pairs; mean recall on the test split {recall}, the epoch and rates chosen on the
validation split. Image tower {image}, text tower {text} (named, not copied), heads of its own.

```python
import pairstill

student = pairstill.load_student("FOLDER")
photos = ["a.jpg", "b.jpg"]
images = student.embed_images(photos)  # (images, width), of unit length
texts = student.embed_texts(["a dog in the snow"])
for score, photo in sorted(zip((texts @ images.T)[0].tolist(), photos), reverse=True):
    print(f"{{score:.2f}} {{photo}}")
```
"""
