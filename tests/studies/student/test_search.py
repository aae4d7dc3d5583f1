from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from pairstill import load_student
from pairstill.cli import main
from pairstill.cli.command import settings_of_run
from pairstill.core.errors import DataError
from pairstill.exchange.student import save_student
from pairstill.studies.student.page import hits_page, thumbnail
from pairstill.studies.student.search import photos_below, search

TINY = str(Path(__file__).parents[2] / "recipes" / "tiny.yaml")
FROZEN = ("--image.trainable=false", "--heads.image=true", "--heads.width=8")
QUERY = "a red circle left of a blue star"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run, its cache, and its first student in a folder of its own."""
    folder = tmp_path_factory.mktemp("search")
    places = (f"--run_dir={folder / 'run'}", f"--cache_dir={folder / 'cache'}")
    assert main(["distill", "--config", TINY, *FROZEN, *places]) == 0
    assert main(["student", str(folder / "run"), f"--out={folder / 'student'}"]) == 0
    return folder


def test_hits_are_the_nearest_in_order(folder):
    student, photos = load_student(folder / "student"), photos_below(folder / "cache")
    scores = (student.embed_images(photos) @ student.embed_texts([QUERY]).T).flatten()
    hits = search(student, photos, QUERY, top=4)
    assert [hit.score for hit in hits] == scores.sort(descending=True).values[:4].tolist()
    assert [hit.path for hit in hits] == [photos[i] for i in scores.argsort(descending=True, stable=True)[:4]]
    by_photo = search(student, photos, photos[0], top=len(photos))
    assert len(by_photo) == len(photos) - 1 and photos[0] not in [hit.path for hit in by_photo]


def test_a_student_sees_photos_on_its_background(folder, tmp_path):
    student = replace(load_student(folder / "student"), background="black")
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    Image.new("RGB", (8, 8), "black").save(tmp_path / "black.png")
    clear, black = student.embed_images([tmp_path / "clear.png", tmp_path / "black.png"])
    assert torch.allclose(clear, black)
    settings = settings_of_run(folder / "run")
    save_student(student, settings.image, settings.text, settings.heads, tmp_path / "kept")
    assert load_student(tmp_path / "kept").background == "black"


def test_search_on_the_command_line(folder, tmp_path, capsys):
    assert main(["search", str(folder / "run"), QUERY, "--top=2"]) == 0
    of_run = capsys.readouterr().out.splitlines()
    photos, page = Path(of_run[0].split(maxsplit=2)[2]).parent, tmp_path / "found.html"
    assert main(["search", str(folder / "student"), QUERY, f"--photos={photos}", f"--out={page}"]) == 0
    assert len(of_run) == 2 and page.read_text().count("<img") == 5


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["student", QUERY], "give their folder as --photos"),
        (["run"], "either words or --image, and not both"),
        (["run", QUERY, "--image=x.png"], "either words or --image, and not both"),
        (["run", QUERY, "--top=0"], "--top is 0; it must be 1 or more"),
        (["run", "!!"], "nothing is left of '!!' as captions are written"),
        (["run", "--image=nothing.png"], "the photo to search by, 'nothing.png', is no file"),
    ],
)
def test_what_cannot_be_searched_for(folder, capsys, asked, said):
    where, *rest = asked
    assert main(["search", str(folder / where), *rest]) != 0
    assert said in " ".join(capsys.readouterr().err.split())


def test_a_folder_without_photos(tmp_path):
    with pytest.raises(DataError, match="holds no photos"):
        photos_below(tmp_path)
    with pytest.raises(DataError, match="nowhere is no folder"):
        photos_below(tmp_path / "nowhere")


def test_photos_are_the_files_that_sources_of_pairs_take(tmp_path):
    for name in ("b.TIFF", "a/c.jfif", "d.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert photos_below(tmp_path) == [tmp_path / "a/c.jfif", tmp_path / "b.TIFF"]


def test_a_page_writes_strange_names_as_text(tmp_path):
    path = tmp_path / "<b>.png"
    Image.new("RGB", (4, 2), (255, 0, 0)).save(path)
    page = hits_page("<script>", [(path, 0.5)])
    assert "<script>" not in page and "&lt;b&gt;.png" in page and "0.500" in page
    assert thumbnail(path, 2) == ["\x1b[38;2;255;0;0;48;2;255;0;0m▀" * 2 + "\x1b[0m"]
