"""A small distilled set of each kind of similarity."""

import io
from dataclasses import replace

import pytest
import torch
from PIL import Image

from pairstill.distilled import DistilledSet
from pairstill.distilled.real import Mixtures, decoded

ENCODER = {"name": "tiny", "size": 4, "mean": [0.5, 0.25, 0.125], "std": [0.25, 0.5, 0.2], "digest": "d1"}
CAPTIONS = ("plain", "two\nlines", "Straße 日本 \u2028", '<script>"&\\', "")


@pytest.fixture
def make(make_phase):
    """Return a function that makes a set of two phases whose similarities are of a kind, `mixed` among them.

    The kind `kept` has photos that are kept, as JPEG and PNG, and mixtures of captions.
    """

    def phase(kind, pairs, seed):
        captions = tuple(CAPTIONS[i % len(CAPTIONS)] for i in range(pairs))
        sources = tuple(f"../{seed}/{i}.png" for i in range(pairs))
        made = replace(make_phase("full" if kind == "kept" else kind, pairs, seed), captions=captions, sources=sources)
        return kept(made, pairs, seed) if kind == "kept" else made

    def kept(made, pairs, seed):
        endings = ("jpg", "png")
        photos = tuple(photo(30 * i + seed, ("JPEG", "PNG")[i % 2]) for i in range(pairs))
        weights = torch.rand(pairs, 3, generator=torch.Generator().manual_seed(seed))
        return replace(
            made,
            photos=photos,
            images=decoded(photos, ENCODER),
            sources=tuple(f"a/{seed}-{i}.{endings[i % 2]}" for i in range(pairs)),
            mixtures=Mixtures((CAPTIONS[:3],) * pairs, weights),
        )

    def photo(shade, form):
        stream = io.BytesIO()
        Image.new("RGB", (7, 5), (shade, 200 - shade, shade)).save(stream, form)
        return stream.getvalue()

    def build(kind="full"):
        first, second = ("full", "low_rank") if kind == "mixed" else (kind, kind)
        return DistilledSet(
            (phase(first, 5, 0), phase(second, 3, 1)),
            ENCODER,
            {"name": "hashed_ngrams", "width": 6, "digest": "d2"},
            {"kind": "linear", "width": None},
            "infonce" if kind == "identity" else "wbce",
            {"method": "ptm_st", "seed": 3, "data": {"source": "table", "captions": {"train": 1200}}},
        )

    return build


@pytest.fixture
def same():
    """Return a function that tells whether two sets are the same to the bit."""

    def compare(a, b):
        left, right = a.tensors(), b.tensors()
        return (
            a.description() == b.description()
            and left.keys() == right.keys()
            and all(left[n].dtype == right[n].dtype and torch.equal(left[n], right[n]) for n in left)
        )

    return compare
