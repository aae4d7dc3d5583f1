from dataclasses import asdict

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode
from torchmetrics.functional.retrieval import retrieval_hit_rate

from pairstill.core.errors import NumericalError
from pairstill.evaluate.retrieval import QueryRanks, Recalls, retrieval_ranks, retrieval_recalls

KEYS = [f"{way}_r{k}" for way in ("text_to_image", "image_to_text") for k in (1, 5, 10)]
EVEN = torch.arange(30).repeat_interleave(3)
UNEVEN = torch.arange(30).repeat_interleave(1 + torch.arange(30) % 4)
# captions in an order of their own: nothing may rely on those of an image lying side by side
MIXED = UNEVEN[torch.randperm(len(UNEVEN), generator=torch.Generator().manual_seed(5))]
OWNERS = {"even": EVEN, "uneven": UNEVEN, "mixed": MIXED}


def embedded(owner, seed=0, noise=1.5):
    """Embeddings in which a caption lies near its image, but often not nearest."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(int(owner.max()) + 1, 8, generator=generator)
    return images, images[owner] + noise * torch.randn(len(owner), 8, generator=generator)


def ranks_by_two_loops(images, texts, owner):
    """The ranks of captions and of images by their definition, one query at a time in double precision."""
    unit = [x.double().numpy() / np.linalg.norm(x.double().numpy(), axis=1, keepdims=True) for x in (images, texts)]
    scores, owner = unit[0] @ unit[1].T, owner.numpy()
    image_ranks, caption_ranks = [], []
    for caption in range(len(texts)):
        own = scores[owner[caption], caption]
        image_ranks.append(sum(scores[i, caption] >= own for i in range(len(images)) if i != owner[caption]))
    for image in range(len(images)):
        best = max(scores[image, c] for c in range(len(texts)) if owner[c] == image)
        caption_ranks.append(sum(scores[image, c] >= best for c in range(len(texts)) if owner[c] != image))
    return [int(rank) for rank in image_ranks], [int(rank) for rank in caption_ranks]


def by_two_loops(images, texts, owner):
    """The recalls by their definition."""
    both = ranks_by_two_loops(images, texts, owner)
    shares = [100 * np.mean([rank < k for rank in ranks]) for ranks in both for k in (1, 5, 10)]
    return dict(zip(KEYS, map(float, shares), strict=True))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("owner", OWNERS.values(), ids=OWNERS.keys())
def test_recalls_are_those_of_a_double_loop_over_ranks(owner, seed):
    images, texts = embedded(owner, seed)
    expected = by_two_loops(images, texts, owner)
    assert asdict(retrieval_recalls(images, texts, owner)) == pytest.approx(expected)
    # neither trivial nor the same in both directions, so that a swap of directions would show
    assert 5 < expected["text_to_image_r1"] < 95 and expected["text_to_image_r1"] != expected["image_to_text_r1"]


@pytest.mark.parametrize("owner", OWNERS.values(), ids=OWNERS.keys())
def test_ranks_are_those_of_a_double_loop_and_give_the_recalls(owner):
    images, texts = embedded(owner)
    found = retrieval_ranks(images, texts, owner)
    assert (found.captions.tolist(), found.images.tolist()) == ranks_by_two_loops(images, texts, owner)
    assert found.recalls == retrieval_recalls(images, texts, owner)


def test_recalls_of_ranks_by_hand():
    # of four captions one is first, two are among five, three among ten; of two images none, one, two
    found = QueryRanks(torch.tensor([0, 4, 9, 10]), torch.tensor([1, 5])).recalls
    assert found == Recalls(25, 50, 75, 0, 50, 100)


@pytest.mark.parametrize("owner", OWNERS.values(), ids=OWNERS.keys())
def test_recalls_are_the_hit_rates_of_torchmetrics(owner):
    images, texts = embedded(owner)
    scores = torch.nn.functional.cosine_similarity(images.unsqueeze(1), texts.unsqueeze(0), dim=2)
    matching = torch.arange(len(images)).unsqueeze(1) == owner
    expected = {}
    for k in (1, 5, 10):
        by_caption = [retrieval_hit_rate(s, m, top_k=k) for s, m in zip(scores.T, matching.T, strict=True)]
        by_image = [retrieval_hit_rate(s, m, top_k=k) for s, m in zip(scores, matching, strict=True)]
        expected[f"text_to_image_r{k}"] = 100 * float(torch.stack(by_caption).mean())
        expected[f"image_to_text_r{k}"] = 100 * float(torch.stack(by_image).mean())
    assert asdict(retrieval_recalls(images, texts, owner)) == pytest.approx(expected)


def test_three_images_by_hand():
    # on the unit circle, in degrees; the captions of image 0 lie at 10 and 80, of image 1 at 100, of image 2 at 170
    def at(*degrees):
        radians = torch.deg2rad(torch.tensor(degrees, dtype=torch.float64))
        return torch.stack([radians.cos(), radians.sin()], dim=1)

    # nearest images of the captions: 0 (right), 1 (wrong), 1 (right), 2 (right)
    # nearest captions of the images: 10 (right), 80 (foreign, 5 away against 15), 170 (right)
    found = retrieval_recalls(at(0, 85, 180), at(10, 80, 100, 170), torch.tensor([0, 0, 1, 2]))
    assert (found.text_to_image_r1, found.image_to_text_r1) == pytest.approx((75, 200 / 3))
    assert found.text_to_image_r5 == found.image_to_text_r10 == 100


def test_perfect_embeddings_recall_everything_and_reversed_ones_nothing():
    u, one_each = torch.eye(12), torch.arange(12)
    assert retrieval_recalls(u, u, one_each).mean == 100
    assert retrieval_recalls(u, -u, one_each).mean == 0


def test_the_length_of_embeddings_does_not_matter():
    images, texts = embedded(MIXED)
    generator = torch.Generator().manual_seed(9)
    longer = [x * (0.1 + 10 * torch.rand(len(x), 1, generator=generator)) for x in (images, texts)]
    assert retrieval_recalls(*longer, MIXED) == retrieval_recalls(images, texts, MIXED)


def test_the_order_of_captions_does_not_matter():
    images, texts = embedded(MIXED)
    order = torch.randperm(len(MIXED), generator=torch.Generator().manual_seed(1))
    assert retrieval_recalls(images, texts[order], MIXED[order]) == retrieval_recalls(images, texts, MIXED)


# one row more than two tiles, where a last tile of one row would have its own way of computing the same scores
@pytest.mark.parametrize(("images", "captions"), [(12, 1), (12, 3), (1025, 1), (1025, 2)])
def test_one_embedding_for_everything_recalls_nothing(images, captions):
    generator = torch.Generator().manual_seed(0)
    u, v = (torch.randn(1, 768, generator=generator) for _ in range(2))
    owner = torch.arange(images).repeat_interleave(captions)
    assert asdict(retrieval_recalls(u.repeat(images, 1), v.repeat(len(owner), 1), owner)) == dict.fromkeys(KEYS, 0)


def test_a_tie_counts_against_the_model_in_both_directions():
    # images 0 and 1 are the same, and so are their captions; image 2 stands apart
    u = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    found = retrieval_recalls(u, u, torch.arange(3))
    assert (found.text_to_image_r1, found.image_to_text_r1) == pytest.approx((100 / 3, 100 / 3))
    assert found.text_to_image_r5 == found.image_to_text_r5 == 100


def test_a_tie_between_captions_of_the_same_image_does_no_harm():
    u = torch.eye(12)
    found = retrieval_recalls(u, u.repeat_interleave(2, dim=0), torch.arange(12).repeat_interleave(2))
    assert found.mean == 100


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("side", ["image", "text"])
def test_an_embedding_that_is_not_finite_is_an_error(side, value):
    images, texts = embedded(EVEN)
    (images if side == "image" else texts)[3, 2] = value
    with pytest.raises(NumericalError, match=rf"retrieval: an? {side} embedding is not finite"):
        retrieval_recalls(images, texts, EVEN)


@pytest.mark.parametrize("rows", [2, 7, 30, 31])
@pytest.mark.parametrize("kept", [0, 700, 1 << 20])
@pytest.mark.parametrize("owner", OWNERS.values(), ids=OWNERS.keys())
def test_tiles_give_the_same_as_one_piece(owner, rows, kept):
    images, texts = embedded(owner)
    whole = retrieval_ranks(images, texts, owner)
    tiled = retrieval_ranks(images, texts, owner, tile_rows=rows, kept_bytes=kept)
    assert torch.equal(tiled.captions, whole.captions) and torch.equal(tiled.images, whole.images)


class Products(TorchFunctionMode):
    """The shapes of all matrix products that are computed within."""

    def __init__(self):
        super().__init__()
        self.shapes = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        if function in (torch.mm, torch.matmul, torch.Tensor.mm, torch.Tensor.matmul, torch.Tensor.__matmul__):
            self.shapes.append(tuple(found.shape))
        return found


@pytest.mark.parametrize(("kept", "products"), [(0, 16), (1 << 20, 8), (3 * 4 * 30 * 4, 13)])
def test_scores_are_computed_in_tiles_and_again_only_where_they_were_not_kept(kept, products):
    images, texts = embedded(torch.arange(30))
    with Products() as seen:
        retrieval_ranks(images, texts, torch.arange(30), tile_rows=4, kept_bytes=kept)
    assert seen.shapes == [(4, 30)] * products


def test_the_mean_is_that_of_the_six_recalls():
    assert Recalls(1, 2, 3, 4, 5, 9).mean == 4
