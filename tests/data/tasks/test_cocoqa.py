import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pairstill.core.errors import ConfigError, DataError
from pairstill.data.tasks.cocoqa import answer_texts, read_cocoqa
from pairstill.data.tasks.settings import CocoQa

TEST = [
    ("what is in the basket", "cat", 42, 0),
    ("how many dogs run", "two", 7, 1),
    ("what is the color of the bus", "red", 42, 2),
    ("where is the man", "beach", 9, 3),
]
TRAIN = [("what is on the table", "vase", 100, 0), ("what is red", "cat", 101, 0)]


def write_split(folder, lines):
    folder.mkdir(parents=True, exist_ok=True)
    for name, column in zip(("questions", "answers", "img_ids", "types"), zip(*lines, strict=True), strict=True):
        (folder / f"{name}.txt").write_text("".join(f"{value}\n" for value in column))


@pytest.fixture
def task(tmp_path):
    """Four questions about three of COCO's images, in folders as COCO has them."""
    write_split(tmp_path / "qa" / "test", TEST)
    write_split(tmp_path / "qa" / "train", TRAIN)
    for image, folder in ((42, "val2014"), (7, "val2014"), (9, "other")):
        (tmp_path / "coco" / folder).mkdir(parents=True, exist_ok=True)
        name = f"COCO_val2014_{image:012d}.jpg" if folder == "val2014" else f"{image:012d}.jpg"
        Image.fromarray(np.full((4, 5, 3), image, dtype=np.uint8)).save(tmp_path / "coco" / folder / name)
    return {"root": str(tmp_path / "qa"), "images": str(tmp_path / "coco")}


def test_questions_answers_types_and_images(task, checking):
    found = read_cocoqa(CocoQa(**task), checking)
    assert found.answers == ("beach", "cat", "red", "two", "vase")  # of both splits
    assert [found.answers[right] for right in found.right] == ["cat", "two", "red", "beach"]
    assert found.types == ("object", "number", "color", "location")
    assert [path.stem[-3:] for path in found.paths] == ["007", "009", "042"]
    assert found.image_of == (2, 0, 2, 1) and found.questions[1] == "how many dogs run"


def test_without_the_other_split_its_answers_are_no_candidates(task, tmp_path, checking):
    for path in (tmp_path / "qa" / "train").iterdir():
        path.unlink()
    (tmp_path / "qa" / "train").rmdir()
    assert read_cocoqa(CocoQa(**task), checking).answers == ("beach", "cat", "red", "two")


def test_a_seed_draws_questions_and_the_candidates_stay(task, checking):
    draws = [read_cocoqa(CocoQa(**task, max_questions=2, question_seed=seed), checking) for seed in (0, 0, 1, 2, 3)]
    assert draws[0] == draws[1] and len({draw.questions for draw in draws}) > 1
    assert all(len(draw.questions) == 2 and len(draw.answers) == 5 for draw in draws)
    assert len({draw.fingerprint for draw in draws}) > 1


def test_what_is_wrong_with_the_files_is_said(task, tmp_path, checking):
    (tmp_path / "qa" / "test" / "answers.txt").write_text("cat\n")
    with pytest.raises(DataError, match=r"different numbers of lines \(questions.txt 4, answers.txt 1"):
        read_cocoqa(CocoQa(**task), checking)
    write_split(tmp_path / "qa" / "test", [*TEST, ("what", "", 42, 0), ("what", "cat", "x", 0), ("what", "cat", 7, 4)])
    with pytest.raises(DataError, match="line 5: .*\n  - line 6: .*\n  - line 7: "):
        read_cocoqa(CocoQa(**task), checking)
    (tmp_path / "qa" / "test" / "types.txt").unlink()
    with pytest.raises(DataError, match="types.txt cannot be read .* set cocoqa.root"):
        read_cocoqa(CocoQa(**task), checking)


def test_files_are_read_from_within_the_folder_alone(task, tmp_path, checking):
    (path,) = Path(task["root"]).glob("test/questions.txt")
    text = path.read_text()
    path.write_text("\ufeff" + text)
    assert read_cocoqa(CocoQa(**task), checking).questions[0] == text.splitlines()[0], "a byte order mark is no letter"
    path.rename(tmp_path / "elsewhere.txt")
    path.symlink_to(tmp_path / "elsewhere.txt")
    with pytest.raises(DataError, match="questions.txt cannot be read .leads out of"):
        read_cocoqa(CocoQa(**task), checking)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(DataError, match="questions.txt cannot be read .is not a file"):
        read_cocoqa(CocoQa(**task), checking)


def test_images_must_be_there_once_and_whole(task, tmp_path, checking):
    other = tmp_path / "coco" / "other" / "000000000009.jpg"
    content = other.read_bytes()
    other.write_bytes(content[:50])
    with pytest.raises(DataError, match="1 images of .* cannot be used:\n  - other/000000000009.jpg cannot be decoded"):
        read_cocoqa(CocoQa(**task), checking)
    other.rename(tmp_path / "coco" / "picture9.jpg")
    with pytest.raises(DataError, match="1 images are not below .*\n  - 9"):
        read_cocoqa(CocoQa(**task), checking)
    for name in ("COCO_val2014_000000000009.jpg", "000000000009.png"):
        (tmp_path / "coco" / name).write_bytes(content)
    with pytest.raises(DataError, match="there twice .*\n  - 9: "):
        read_cocoqa(CocoQa(**task), checking)


def test_the_template():
    assert answer_texts("what is it", ["cat"], "as_they_are") == ["Question: what is it Answer: cat."]
    assert answer_texts("what is it", ["cat", "dog"], "plain") == [
        "question what is it answer cat",
        "question what is it answer dog",
    ]
    assert answer_texts("What's it?", ["ice-cream"], "paper") == ["question what's it? answer ice-cream"]


def test_a_long_question_is_cut_so_that_every_answer_stays():
    texts = answer_texts(" ".join(map(str, range(40))), ["cat", "ice cream"], "plain")
    assert [text.split()[-2:] for text in texts] == [["answer", "cat"], ["ice", "cream"]]
    assert [len(text.split()) for text in texts] == [29, 30]


@pytest.mark.parametrize("settings", [{}, {"root": "x"}, {"root": "x", "images": "y", "max_questions": 0}])
def test_settings_that_cannot_work(settings):
    with pytest.raises(ConfigError, match="cocoqa"):
        CocoQa(**settings)
