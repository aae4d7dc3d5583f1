"""The photos that are nearest to a text or to another photo, by a student's embeddings."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pairstill.core.errors import DataError, shown
from pairstill.data.captions import caption_as
from pairstill.data.sources.recognition import PICTURES
from pairstill.exchange.student import Student


@dataclass(frozen=True)
class Hit:
    """A photo that was found.

    Attributes:
        path: the photo.
        score: cosine of its embedding and the query's, from -1 to 1.
    """

    path: Path
    score: float


def photos_below(folder: Path) -> list[Path]:
    """Return all photos in a folder and the folders in it, by name.

    Raises:
        DataError: there are none, or no such folder.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder; give one that holds photos")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURES and path.is_file())
    if not found:
        raise DataError(f"{folder} holds no photos ({', '.join(PICTURES)}); give another folder")
    return found


def search(student: Student, photos: Sequence[Path], query: str | Path, top: int) -> list[Hit]:
    """Return the photos that are nearest to the query, best first.

    Args:
        student: embeds both.
        photos: where to look.
        query: a text, or as a `Path` another photo, which is not found itself.
        top: how many at most.

    Raises:
        DataError: a photo cannot be read, or nothing is left of the text.
    """
    if isinstance(query, Path):
        if not query.is_file():
            raise DataError(f"the photo to search by, {shown(str(query))}, is no file")
        photos = [photo for photo in photos if not photo.samefile(query)]
        asked = student.embed_images([query])
    else:
        if not caption_as(student.captions, query).strip():
            raise DataError(
                f"nothing is left of {shown(query)} as captions are written ({student.captions}); give words"
            )
        asked = student.embed_texts([query])
    scores = (student.embed_images(photos) @ asked.T).flatten()
    best = scores.argsort(descending=True, stable=True)[:top].tolist()
    return [Hit(photos[place], float(scores[place])) for place in best]
