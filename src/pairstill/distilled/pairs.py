"""The distilled set: all phases and what a student needs beside them, in a folder or as a dataset."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, get_args

from torch import Tensor
from torch.utils.data import Dataset

from pairstill.config import InfoNCE, RunConfig
from pairstill.config.changed import meant
from pairstill.config.data import BACKGROUNDS
from pairstill.core.errors import ArtifactError, NumericalError
from pairstill.distilled.phase import DistilledPhase, phase_from, to_tensors
from pairstill.distilled.real import decoded
from pairstill.encoders.pixel_space import PixelSpace, adapt_images
from pairstill.model.functional import LossName
from pairstill.storage import (
    file_digest,
    load_tensors,
    read_json,
    read_object,
    save_tensors,
    write_bytes_atomic,
    write_json,
)
from pairstill.storage.checksums import check_seal, parse_json, sealed

FORMAT = "pairstill.distilled_set"
VERSION = 1
TENSORS = "distilled.safetensors"
MANIFEST = "distilled.json"
PHOTOS = "photos"
"""The folder of the photos that are kept, inside a set's."""
_GARBLED = (KeyError, TypeError, ValueError, AttributeError, OverflowError, IndexError, RecursionError)
"""What reading a description raises that says something else than was written."""
LOSSES: tuple[LossName, ...] = get_args(LossName)
DIRECTIONS: tuple[InfoNCE, ...] = get_args(InfoNCE)


@dataclass(frozen=True)
class DistilledSet:
    """Distilled pairs in phases, with all that a student needs to train on them.

    Attributes:
        phases: the phases, in the order in which a student trains on them.
        image_encoder: specification of the image tower (name, size, mean, std, width, digest, trainable); of several,
            of what is common to them: size, mean and std of the pixels.
        text_encoder: specification of the text tower.
        heads: settings of the projection heads.
        loss: the loss that students train with, `wbce` or `infonce`.
        provenance: method, seeds, data fingerprint and versions.
        info_nce: how `infonce` puts its two directions together, which the rates belong to.
        towers: specifications of the image towers that the set was made for, if they are several.
        background: what shows through transparent pixels of the photos, as `data.background` has it.
        glossary: real captions that go along, by which captions of other text towers are read in the space of the
            texts: both towers encode them, and a map is fitted to that.
    """

    phases: tuple[DistilledPhase, ...]
    image_encoder: Mapping[str, Any]
    text_encoder: Mapping[str, Any]
    heads: Mapping[str, Any]
    loss: LossName
    provenance: Mapping[str, Any] = field(default_factory=dict)
    info_nce: InfoNCE = "mean"
    towers: tuple[Mapping[str, Any], ...] = ()
    background: str = "white"
    glossary: tuple[str, ...] = ()

    def of_tower(self, number: int) -> "DistilledSet":
        """Return the set as students with one of its several towers take it: its pixels, its rates.

        Args:
            number: the tower's, from 0.
        """
        tower = self.towers[number]
        own = PixelSpace.of_json(tower)
        common = replace(PixelSpace.of_json(self.image_encoder), size=self.phases[0].images.shape[-1])
        phases = tuple(
            replace(
                phase,
                images=decoded(phase.photos, tower, self.background)
                if phase.photos
                else adapt_images(phase.images, common, own),
                inner_lr_image=phase.tower_rates[number].image,
                inner_lr_text=phase.tower_rates[number].text,
                tower_rates=(),
            )
            for phase in self.phases
        )
        return replace(self, phases=phases, image_encoder=tower, towers=())

    @property
    def num_pairs(self) -> int:
        """Pairs over all phases."""
        return sum(phase.num_pairs for phase in self.phases)

    @property
    def storage_bytes(self) -> int:
        """Bytes of everything learned."""
        return sum(phase.storage_bytes for phase in self.phases)

    @property
    def pairs_equivalent(self) -> float:
        """The storage in units of one real pair: a float32 image and text embedding of the same shapes."""
        phase = self.phases[0]
        return self.storage_bytes / (4 * (phase.images[0].numel() + phase.text_embeddings[0].numel()))

    def dataset(self) -> "DistilledPairs":
        """Return an ordinary PyTorch dataset over all pairs."""
        return DistilledPairs(self)

    def save(self, folder: Path | str) -> None:
        """Write the set to `folder`; the manifest is written last and names the tensors' digest.

        Raises:
            ArtifactError: `load` would refuse the set; nothing is written.
            NumericalError: a value is not finite; nothing is written.
        """
        folder = Path(folder)
        tensors = self.tensors()
        for name, value in tensors.items():
            if not bool(value.isfinite().all()):
                raise NumericalError(f"distilled set: {name} holds values that are not finite; it is not saved")
        self._check_readable(tensors)
        for number, phase in enumerate(self.phases, start=1):
            for index, photo in enumerate(phase.photos):
                write_bytes_atomic(folder / photo_name(phase, number, index), photo)
        save_tensors(folder / TENSORS, tensors)
        about = {
            "format": FORMAT,
            "version": VERSION,
            "tensors": {"file": TENSORS, "sha256": file_digest(folder / TENSORS)},
            **self.description(),
        }
        write_json(folder / MANIFEST, sealed(about))

    def _check_readable(self, tensors: Mapping[str, Tensor]) -> None:
        """Refuse to write what could not be read."""
        try:
            text = json.dumps(sealed(self.description()), ensure_ascii=False, allow_nan=False)
            about = check_seal(parse_json(text.encode().decode()), "its description")
            DistilledSet.from_parts(about, tensors, self.photos)
        except _GARBLED as error:
            raise ArtifactError(f"this distilled set is not saved, for it could not be read: {error}") from error
        except ArtifactError as error:
            raise ArtifactError(f"it is not saved: {error}") from error

    def description(self) -> dict[str, Any]:
        """Return everything but the tensors as JSON values; `from_parts` takes both."""
        return {
            "num_pairs": self.num_pairs,
            "storage_bytes": self.storage_bytes,
            "pairs_equivalent": round(self.pairs_equivalent, 3),
            "image_encoder": dict(self.image_encoder),
            "text_encoder": dict(self.text_encoder),
            "heads": dict(self.heads),
            "loss": self.loss,
            "info_nce": self.info_nce,
            **({"towers": [dict(tower) for tower in self.towers]} if self.towers else {}),
            **({"background": self.background} if self.background != "white" else {}),
            **({"glossary": list(self.glossary)} if self.glossary else {}),
            "phases": [
                {
                    "num_pairs": phase.num_pairs,
                    "inner_lr_image": phase.inner_lr_image,
                    "inner_lr_text": phase.inner_lr_text,
                    **({"tower_rates": [list(astuple(r)) for r in phase.tower_rates]} if phase.tower_rates else {}),
                    "similarity_factors": sorted(phase.similarity_factors),
                    "pairs": _pairs_of(phase, number),
                }
                for number, phase in enumerate(self.phases, start=1)
            ],
            "provenance": dict(self.provenance),
        }

    @property
    def photos(self) -> tuple[bytes, ...]:
        """The files of all photos that are kept, in order."""
        return tuple(photo for phase in self.phases for photo in phase.photos)

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors by name, such as `phase1/images` and `phase1/similarity/matrix`."""
        return to_tensors(self.phases)

    @staticmethod
    def from_parts(
        description: Mapping[str, Any], tensors: Mapping[str, Tensor], photos: Sequence[bytes] = ()
    ) -> "DistilledSet":
        """Return the set of a description and its tensors.

        Args:
            description: as `description` returns it.
            tensors: by name.
            photos: the files of the photos that are kept, in any order.

        Raises:
            ArtifactError: the parts do not fit together.
            KeyError: something is missing; TypeError and ValueError: something is of another kind.
        """
        mappings = (description[name] for name in ("image_encoder", "text_encoder", "heads", "provenance"))
        image_encoder, text_encoder, heads, provenance = map(_mapping, mappings)
        background = description.get("background", "white")
        if re.fullmatch(BACKGROUNDS, background) is None:
            raise ArtifactError(
                f"the distilled set has the background {background!r}, which is no colour; copy it anew"
            )
        phases = tuple(
            phase_from(tensors, number, entry, image_encoder, photos, background)
            for number, entry in enumerate(description["phases"], start=1)
        )
        if not phases:
            raise ArtifactError("the distilled set has no phases; distil again")
        if (loss := description["loss"]) not in LOSSES:
            raise ArtifactError(f"the distilled set has the loss {loss!r}; it must be one of {', '.join(LOSSES)}")
        if (info_nce := description.get("info_nce", meant(RunConfig, "info_nce"))) not in DIRECTIONS:
            raise ArtifactError(
                f"the distilled set has the info_nce {info_nce!r}; it must be one of {', '.join(DIRECTIONS)}"
            )
        towers = tuple(map(_mapping, description.get("towers", ())))
        for number, phase in enumerate(phases, start=1):
            if len(phase.tower_rates) != len(towers):
                raise ArtifactError(
                    f"phase {number} of the distilled set has rates of {len(phase.tower_rates)} towers, but the set "
                    f"names {len(towers)}; distil again"
                )
        return DistilledSet(
            phases=phases,
            image_encoder=image_encoder,
            text_encoder=text_encoder,
            heads=heads,
            loss=loss,
            provenance=provenance,
            info_nce=info_nce,
            towers=towers,
            background=background,
            glossary=tuple(map(_caption, description.get("glossary", ()))),
        )

    @staticmethod
    def load(folder: Path | str) -> "DistilledSet":
        """Read a set from its folder and check that it is whole.

        Raises:
            ArtifactError: a file is missing, damaged, of another format, or the parts do not fit together.
        """
        if str(folder).startswith("hf:/"):
            raise ArtifactError(f"pairstill.load_set reads {folder}; DistilledSet.load reads folders")
        folder = Path(folder)
        manifest = read_json(folder / MANIFEST)
        if not isinstance(manifest, dict) or manifest.get("format") != FORMAT or manifest.get("version") != VERSION:
            raise ArtifactError(f"{folder / MANIFEST} is not a distilled set of format version {VERSION}")
        manifest = check_seal(manifest, str(folder / MANIFEST))
        try:
            if file_digest(folder / TENSORS) != manifest["tensors"]["sha256"]:
                raise ArtifactError(f"{folder / TENSORS} does not match its manifest; it was changed or cut short")
            return DistilledSet.from_parts(manifest, load_tensors(folder / TENSORS), _photos(folder, manifest))
        except FileNotFoundError as error:
            raise ArtifactError(f"{error.filename} does not exist; copy the whole folder") from error
        except OSError as error:
            raise ArtifactError(
                f"{folder / TENSORS} cannot be read ({error.strerror}); copy the folder anew"
            ) from error
        except _GARBLED as error:
            raise ArtifactError(f"{folder / MANIFEST} lacks or garbles {error}; distil again") from error


def _photos(folder: Path, manifest: Mapping[str, Any]) -> list[bytes]:
    """Return the files of the photos that a description names; each must lie in the folder of photos."""
    names = [pair["photo"] for phase in manifest["phases"] for pair in phase["pairs"] if "photo" in pair]
    root = (folder / PHOTOS).resolve()
    paths = [(folder / _name(name)).resolve() for name in names]
    if any(not path.is_relative_to(root) for path in paths):
        raise ArtifactError(f"{folder / MANIFEST} names photos outside of {root}; copy the set anew")
    return [path.read_bytes() for path in paths]


def _name(value: Any) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise TypeError(f"{value!r}, which must be the name of a photo")
    return value


def stored_pairs(folder: Path) -> str | None:
    """Return which pairs a folder holds, as the sha256 of their tensors that its manifest names; None if it holds none.

    Raises:
        ArtifactError: the manifest is damaged.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return None
    try:
        return str(read_object(path, "tensors")["tensors"]["sha256"])
    except (KeyError, TypeError) as error:
        raise ArtifactError(f"{path} lacks or garbles {error}; distil again") from error


def _pairs_of(phase: DistilledPhase, number: int) -> list[dict[str, Any]]:
    """Return what a description says of each pair of a phase, whose number counts from 1."""
    pairs: list[dict[str, Any]] = [
        {"caption": caption, "source": source} for caption, source in zip(phase.captions, phase.sources, strict=True)
    ]
    if phase.photos:
        for index, pair in enumerate(pairs):
            pair["photo"] = photo_name(phase, number, index)
    if phase.mixtures is not None:
        for pair, captions in zip(pairs, phase.mixtures.captions, strict=True):
            pair["mixture"] = list(captions)
    return pairs


def photo_name(phase: DistilledPhase, number: int, index: int) -> str:
    """Return where in a set's folder a photo that is kept stands, such as `photos/phase1/0007.jpg`."""
    ending = PurePosixPath(phase.sources[index]).suffix.lower()
    return f"{PHOTOS}/phase{number}/{index:04d}{ending}"


def _caption(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r}, which must be a caption")
    return value


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"{value!r}, which must be an object")
    return value


class DistilledPairs(Dataset[dict[str, Any]]):
    """A PyTorch dataset of distilled pairs; item i is a dictionary.

    Keys: `image` (3, height, width), `text_embedding` (width,), `phase` (from 1), `index` (the pair's row and column in
    its phase's similarity matrix), `caption` (the real caption that it started from).
    """

    def __init__(self, distilled: DistilledSet) -> None:
        """View `distilled` as a flat dataset."""
        self._phases = distilled.phases
        self._places = [(p, i) for p, phase in enumerate(distilled.phases) for i in range(phase.num_pairs)]

    def __len__(self) -> int:
        """Return the number of pairs over all phases."""
        return len(self._places)

    def __getitem__(self, item: int) -> dict[str, Any]:
        """Return one pair; its tensors are copies, one's own to change."""
        number, index = self._places[item]
        phase = self._phases[number]
        return {
            "image": phase.images[index].clone(),
            "text_embedding": phase.text_embeddings[index].clone(),
            "phase": number + 1,
            "index": index,
            "caption": phase.captions[index],
        }

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield all pairs in order."""
        return (self[item] for item in range(len(self)))
