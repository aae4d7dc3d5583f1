"""`pairstill search`: photos that are nearest to a text or to a photo, by a trained student."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

from pairstill.cli.command import Command, plain_parser, settings_of_run
from pairstill.cli.runs import open_run
from pairstill.core.errors import ConfigError
from pairstill.core.formatting import printable

if TYPE_CHECKING:
    from pairstill.exchange.student import Student

NAME = "search"
TEXT = "find the photos that are nearest to a text or to a photo, by a trained student"
COLUMNS = 32


def _parser(_: Sequence[str]) -> ArgumentParser:
    parser = plain_parser(NAME, TEXT)
    parser.add_argument("run", type=str, help="folder of a run, or of a student that `pairstill student` has saved")
    parser.add_argument("query", type=str, nargs="?", default=None, help="what to look for, in words")
    parser.add_argument("--image", type=str, default=None, help="a photo to look for, in place of words")
    parser.add_argument(
        "--photos", type=str, default=None, help="folder of the photos; null takes the test split of the run"
    )
    parser.add_argument("--top", type=int, default=5, help="how many photos to show")
    parser.add_argument("--out", type=str, default=None, help="an HTML page to write")
    return parser


def _run(parser: ArgumentParser, options: Namespace) -> int:
    from pairstill.exchange.student import ABOUT, load_student
    from pairstill.storage import write_text_atomic
    from pairstill.studies.student.page import hits_page, thumbnail
    from pairstill.studies.student.search import search

    if (options.query is None) == (options.image is None):
        raise ConfigError("search needs either words or --image, and not both")
    if options.top < 1:
        raise ConfigError(f"--top is {options.top}; it must be 1 or more")
    where = Path(options.run)
    if (where / ABOUT).is_file():
        if options.photos is None:
            raise ConfigError("a saved student has no photos of its own: give their folder as --photos")
        student, photos = load_student(where), _photos(Path(options.photos))
    else:
        found = _of_run(where, options.photos)
        if found is None:
            return 0  # of several processes, the main one searches
        student, photos = found
    query = options.query if options.image is None else Path(options.image)
    hits = search(student, photos, query, options.top)
    for number, hit in enumerate(hits, start=1):
        print(printable(f"{number:3d}  {hit.score:.3f}  {hit.path}"))
        if sys.stdout.isatty() and options.out is None:
            print("\n".join(thumbnail(hit.path, COLUMNS)))
    if options.out is not None:
        write_text_atomic(Path(options.out), hits_page(str(query), [(hit.path, hit.score) for hit in hits]))
    return 0


def _of_run(run: Path, photos: str | None) -> "tuple[Student, Sequence[Path]] | None":
    """Return the first student of a run's distilled pairs, and the photos to search in."""
    from pairstill.studies.student.study import trained_student

    with open_run(settings_of_run(run)) as (opened, _):
        return opened.study(
            lambda context: (
                trained_student(context),
                context.manifest.image_paths("test") if photos is None else _photos(Path(photos)),
            )
        )


def _photos(folder: Path) -> list[Path]:
    from pairstill.studies.student.search import photos_below

    return photos_below(folder)


COMMAND = Command(NAME, TEXT, _parser, _run)
