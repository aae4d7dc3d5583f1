"""Runs on text embeddings and image features that another run wrote as files."""

import pytest
import torch

from pairstill.cli import main
from pairstill.encoders.row_files import RowFile, caption_digest, write_row_file
from pairstill.storage import load_tensors

FROZEN = ("--image.trainable", "false", "--heads.image", "true", "--heads.width", "8", "--evaluate.num_students", "1")


@pytest.fixture(scope="module")
def written(do, tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoded")
    texts, features = folder / "texts.safetensors", folder / "features.safetensors"
    do("prepare", folder / "run", *FROZEN, "--texts_out", str(texts), "--features_out", str(features))
    return texts, features


def with_files(texts, features):
    return ("--text.name", "precomputed", "--text.file", str(texts), "--image.features", str(features))


def test_a_run_on_files_is_the_run_on_encoders(do, written, tmp_path, results):
    encoded, given = do("run", tmp_path / "a", *FROZEN), do("run", tmp_path / "b", *FROZEN, *with_files(*written))
    one, two = (load_tensors(run / "distilled" / "distilled.safetensors") for run in (encoded, given))
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
    named = ("pairs", "encoders", "ranks")  # after the files, too
    for first, second in zip(results(encoded), results(given), strict=True):
        assert {k: v for k, v in first.items() if k not in named} == {k: v for k, v in second.items() if k not in named}


def test_captions_that_the_file_lacks_are_named(tiny, written, tmp_path, capsys):
    other = ("--data.scenes.seed", "7")
    assert main(tiny("prepare", tmp_path / "run", *FROZEN, *other, *with_files(*written)[:4])) == 1
    told = capsys.readouterr().err
    assert "text.name is precomputed, but" in told and "no row for" in told and "prepare --texts_out FILE" in told


def test_images_that_the_file_lacks_are_named(tiny, written, tmp_path, capsys):
    options = ("--data.scenes.seed", "7", "--image.features", str(written[1]))
    assert main(tiny("prepare", tmp_path / "run", *FROZEN, *options)) == 1
    told = capsys.readouterr().err
    assert "image.features" in told and ".png" in told and "prepare --features_out FILE" in told


def test_features_of_another_tower_are_refused(tiny, written, tmp_path, capsys):
    options = ("--image.init_seed", "1", "--image.features", str(written[1]))
    assert main(tiny("prepare", tmp_path / "run", *FROZEN, *options)) == 1
    assert "holds other features than the tower gives" in capsys.readouterr().err


def test_half_precision_is_half_the_bytes_and_passes_the_check(do, written, tmp_path):
    halves = [tmp_path / path.name for path in written]
    out = ("--texts_out", str(halves[0]), "--features_out", str(halves[1]), "--dtype", "float16")
    do("prepare", tmp_path / "run", *FROZEN, *out)
    assert RowFile.open(halves[1], "features").vectors.dtype == torch.float16
    do("prepare", tmp_path / "again", *FROZEN, *with_files(*halves))


def test_a_task_with_other_texts_names_those_that_lack(do, tiny, written, tmp_path, capsys):
    run = do("prepare", tmp_path / "run", *FROZEN, *with_files(*written))
    zeroshot = ("--zeroshot.source", "captions", "--zeroshot.classes", "[circle, square]")
    command = tiny("downstream", run, *FROZEN, *with_files(*written), "--evaluate.methods", "[full]", *zeroshot)
    assert main(["downstream", "zeroshot", *command[1:]]) == 1
    assert "'a photo of a circle'" in capsys.readouterr().err


def test_another_encoder_as_a_file_in_the_matrix(do, tiny, written, tmp_path):
    run = do("run", tmp_path / "run", *FROZEN)
    file = RowFile.open(written[0], "texts")
    wider, width = tmp_path / "wider.safetensors", file.width + 1
    rows = torch.cat([file.vectors, torch.ones(len(file.vectors), width - file.width)], 1)
    write_row_file(wider, "texts", list(file.places), rows, "one dimension more")
    cross = ("--text-encoder", f"precomputed,file={wider}", "--map-text")
    assert main(tiny("evaluate", run, *FROZEN, *cross)) == 0
    assert f"precomputed ({width})" in (run / "cross.md").read_text()


def test_the_stated_digest_is_that_of_the_caption_alone():
    assert caption_digest("a dog").hex().startswith("7dbdf68a")
