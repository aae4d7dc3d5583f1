"""Small image files and datasets, made in a temporary folder."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pairstill.config import DataConfig
from pairstill.data.checks import Checking


@pytest.fixture
def checking(tmp_path: Path) -> Checking:
    """Check images of up to 10,000 pixels, with a cache of the test's own."""
    return Checking(tmp_path / "cache", 10_000, "white")


@pytest.fixture
def make_image() -> Callable[..., Path]:
    """Write a one-colour picture; the suffix names the format."""

    def make(path: Path, colour: tuple[int, int, int] = (255, 0, 0), size: tuple[int, int] = (4, 4)) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, colour).save(path)
        return path

    return make


@pytest.fixture
def make_karpathy(tmp_path: Path, make_image: Callable[..., Path]) -> Callable[..., DataConfig]:
    """Write a Karpathy split file, and an image for every entry whose file name is plain."""

    def make(entries: list[dict[str, Any]], **settings: Any) -> DataConfig:
        (tmp_path / "images").mkdir(exist_ok=True)
        for number, entry in enumerate(entries):
            name = entry["filename"]
            if "/" not in name and not (tmp_path / "images" / name).exists():
                make_image(tmp_path / "images" / name, colour=(number, 2 * number, 255 - number))
        (tmp_path / "dataset.json").write_text(json.dumps({"images": entries}))
        return DataConfig(
            source="karpathy", root=str(tmp_path), annotations="dataset.json", images="images", **settings
        )

    return make
