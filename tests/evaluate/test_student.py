from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from pairstill.config import StudentConfig
from pairstill.core.errors import NumericalError
from pairstill.distilled import DistilledPhase
from pairstill.evaluate.student import StudentPhase, student_phases, train_student
from pairstill.model.functional import pair_loss
from pairstill.teachers.training import sgd

SIZE, FEATURES, TEXT_WIDTH = 6, 5, 7
CONFIG = StudentConfig(epochs=4, momentum=0.9, weight_decay=0.01)
CPU = torch.device("cpu")


def phase(pairs=5, seed=0, lr_image=0.1, lr_text=0.05, *, similarity=True):
    generator = torch.Generator().manual_seed(seed)
    return StudentPhase(
        torch.randn(pairs, 3, SIZE, SIZE, generator=generator),
        torch.randn(pairs, TEXT_WIDTH, generator=generator),
        0.8 * torch.eye(pairs) + 0.1 * torch.rand(pairs, pairs, generator=generator) if similarity else None,
        lr_image,
        lr_text,
    )


@pytest.fixture
def train(make_factory):
    """Train a student; return the epochs that it yielded, with copies of its parameters."""

    def run(phases, config=CONFIG, *seed, loss="wbce", batch_size=3, seen=None, **heads):
        factory = make_factory(**heads)
        model = factory.build()
        if seen is not None:
            model.register_forward_pre_hook(lambda _, inputs: seen.take(*inputs))
        epochs = train_student(factory, model, phases, loss, config, *(seed or (0,)), batch_size=batch_size)
        return [(epoch, {n: v.detach().clone() for n, v in parameters.items()}) for epoch, parameters in epochs]

    return run


class Batches:
    """What a model was given in every mini-batch, as its hook tells: the images first, then the texts."""

    def __init__(self):
        self.images, self.texts, self.masks = [], [], []

    def take(self, images, texts, masks):
        if images is not None:
            self.images.append(images)
        else:
            self.texts.append(texts)
            self.masks.append(masks)

    @property
    def sizes(self):
        return [len(texts) for texts in self.texts]


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def rows_of(texts, phase):
    """The pairs of a mini-batch, known by their texts."""
    return [int((phase.texts == text).all(1).nonzero()) for text in texts]


@pytest.mark.parametrize("loss", ["wbce", "infonce"])
@pytest.mark.parametrize("epochs", [1, 4, 5])
def test_equals_sgd_by_hand(train, make_factory, loss, epochs):
    """Two phases of one batch each: the order of the pairs does not matter, everything else does."""
    phases = [phase(seed=1), phase(seed=2, lr_image=0.02, lr_text=0.3)]
    config = replace(CONFIG, epochs=epochs)
    found = train(phases, config, loss=loss, batch_size=5, dropout=0.0)

    factory = make_factory(dropout=0.0)
    model, now = factory.build(), factory.initial_parameters(0)
    expected = []
    for part in phases:
        velocity = {name: torch.zeros_like(value) for name, value in now.items()}  # fresh in every phase
        for epoch in range(1, epochs + 1):
            slow = 0.1 if epochs > 1 and epoch > epochs // 2 else 1.0
            leaves = {name: value.requires_grad_() for name, value in now.items()}
            batch = (part.images, part.texts, part.similarity)
            gradients = torch.autograd.grad(pair_loss(model, leaves, batch, loss, None), list(leaves.values()))
            for (name, value), gradient in zip(leaves.items(), gradients, strict=True):
                rate = slow * (part.lr_text if name.startswith("text_") else part.lr_image)
                velocity[name] = 0.9 * velocity[name] + gradient + 0.01 * value.detach()
                now[name] = (value - rate * velocity[name]).detach()
            expected.append({name: value.clone() for name, value in now.items()})
    assert [epoch for epoch, _ in found] == list(range(1, 2 * epochs + 1))
    for (_, parameters), wanted in zip(found, expected, strict=True):
        for name, value in wanted.items():
            torch.testing.assert_close(parameters[name], value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("loss", "factor"), [("infonce", 2), ("wbce", 1)])
def test_the_mean_at_twice_the_rates_is_the_sum(train, loss, factor):
    config = replace(CONFIG, weight_decay=0.0)
    added = train([phase()], config, loss=loss, info_nce="sum")
    mean = train([phase(lr_image=factor * 0.1, lr_text=factor * 0.05)], config, loss=loss, info_nce="mean")
    for (_, one), (_, other) in zip(added, mean, strict=True):
        for name, value in one.items():
            torch.testing.assert_close(other[name], value, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("epochs", "slow_from"), [(2, 2), (4, 3), (5, 3), (1, None)])
def test_rates_fall_to_a_tenth_from_half_way_on_in_every_phase(train, epochs, slow_from):
    seen = []
    hook = register_optimizer_step_pre_hook(
        lambda optimizer, *_: seen.append(tuple(group["lr"] for group in optimizer.param_groups))
    )
    rates = [(0.1, 0.05), (0.02, 0.3)]
    with hook:
        train([phase(5, lr_image=a, lr_text=b) for a, b in rates], replace(CONFIG, epochs=epochs), batch_size=5)
    expected = [
        tuple(rate * (0.1 if slow_from and epoch >= slow_from else 1) for rate in pair)
        for pair in rates
        for epoch in range(1, epochs + 1)
    ]
    assert seen == [pytest.approx(pair) for pair in expected]


def test_momentum_is_fresh_in_every_phase(train):
    # the first step of SGD is the same with and without momentum; phases of one step are, unless it is carried over
    phases, config = [phase(seed=1), phase(seed=2)], replace(CONFIG, epochs=1)
    with_momentum, without = (
        train(phases, replace(config, momentum=momentum), batch_size=5, dropout=0.0)[-1][1] for momentum in (0.9, 0.0)
    )
    assert equal(with_momentum, without)


def test_every_pair_is_seen_once_in_every_epoch_in_a_new_order(train):
    phases, seen = [phase(7, seed=1), phase(4, seed=2)], Batches()
    train(phases, batch_size=3, seen=seen)
    assert seen.sizes == [3, 3, 1] * 4 + [3, 1] * 4
    orders, texts = [], iter(seen.texts)
    for part, count in ((phases[0], 3), (phases[1], 2)):
        for _ in range(4):
            orders.append(tuple(row for _ in range(count) for row in rows_of(next(texts), part)))
    assert all(sorted(order) == list(range(7)) for order in orders[:4]) and len(set(orders[:4])) > 1
    assert all(sorted(order) == list(range(4)) for order in orders[4:]) and len(set(orders[4:])) > 1


def test_a_batch_takes_the_similarities_and_masks_of_its_own_pairs(train, make_factory):
    part, seen, config = phase(7), Batches(), replace(CONFIG, epochs=1)
    ((_, found),) = train([part], config, batch_size=3, dropout=0.5, seen=seen)

    factory = make_factory(dropout=0.5)
    model, now = factory.build(), {n: v.requires_grad_() for n, v in factory.initial_parameters(0).items()}
    optimizer = sgd(now, {"image": part.lr_image, "text": part.lr_text}, config.momentum, config.weight_decay)
    for texts, masks in zip(seen.texts, seen.masks, strict=True):
        rows = rows_of(texts, part)
        batch = (part.images[rows], part.texts[rows], part.similarity[rows][:, rows])
        optimizer.zero_grad()
        pair_loss(model, now, batch, "wbce", masks).backward()
        optimizer.step()
        assert len(masks.text) == len(rows)
    assert equal(found, now)
    assert not torch.equal(seen.masks[0].text, seen.masks[1].text)


@pytest.mark.parametrize(("loss", "sizes"), [("infonce", [3, 3]), ("wbce", [3, 3, 1])])
def test_a_last_batch_of_one_has_no_negatives_and_is_left_out_of_infonce(train, loss, sizes):
    seen = Batches()
    train([phase(7, similarity=loss == "wbce")], replace(CONFIG, epochs=2), loss=loss, batch_size=3, seen=seen)
    assert seen.sizes == sizes * 2


@pytest.mark.parametrize(("every", "expected"), [(1, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]), (2, [2, 4, 5, 7, 9, 10])])
def test_epochs_are_yielded_when_asked_for_and_at_the_end_of_each_phase(train, every, expected):
    phases = [phase(seed=1), phase(seed=2)]
    found = train(phases, replace(CONFIG, epochs=5, validate_every=every))
    assert [epoch for epoch, _ in found] == expected
    # what is looked at has no influence on the training
    assert equal(found[-1][1], train(phases, replace(CONFIG, epochs=5))[-1][1])


def test_the_seed_decides_everything_random(train):
    first, again, other = (train([phase()], CONFIG, 0, "student", s)[-1][1] for s in (0, 0, 1))
    assert equal(first, again) and not equal(first, other)
    tower = [name for name in first if name.startswith("image_tower")]
    assert tower and len(tower) < len(first)


def test_the_student_learns(train, make_factory):
    part = phase(lr_image=0.05, lr_text=0.05)
    config = replace(CONFIG, epochs=40)
    model = make_factory(dropout=0.0).build()
    batch = (part.images, part.texts, part.similarity)
    losses = [float(pair_loss(model, p, batch, "wbce", None)) for _, p in train([part], config, dropout=0.0)]
    assert losses[-1] < 0.7 * losses[0]


def test_phases_go_on_from_where_the_last_one_ended(train):
    first, second = phase(seed=1), phase(seed=2)
    both = train([first, second])
    assert equal(both[3][1], train([first])[-1][1])
    assert not equal(both[-1][1], train([second])[-1][1])


def test_divergence_names_phase_epoch_and_rates(train):
    phases = [phase(seed=1), phase(seed=2, lr_image=1e38, lr_text=1e38)]
    with pytest.raises(NumericalError, match=r"the loss is (nan|inf) in epoch \d of phase 2; its rates are .*1e\+38"):
        train(phases)


def test_a_loss_that_is_not_finite_names_its_phase_and_epoch(make_factory):
    factory, steps = make_factory(), []
    model = factory.build()

    def broken(_, inputs, output):
        if inputs[0] is not None:
            steps.append(1)
            if len(steps) == 7:
                return output[0] * float("nan"), None

    model.register_forward_hook(broken)
    epochs = train_student(factory, model, [phase(seed=1), phase(seed=2)], "wbce", CONFIG, 0, batch_size=5)
    with pytest.raises(NumericalError, match="the loss is nan in epoch 3 of phase 2"):
        list(epochs)


# what a student sees of a distilled set


def distilled_phase(pairs, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return DistilledPhase(
        images=torch.randn(pairs, 3, SIZE, SIZE, generator=generator),
        text_embeddings=torch.randn(pairs, TEXT_WIDTH, generator=generator),
        similarity_factors={"matrix": torch.rand(pairs, pairs, generator=generator)},
        inner_lr_image=0.1 + seed,
        inner_lr_text=0.2 + seed,
        captions=("",) * pairs,
        sources=("",) * pairs,
    )


class CountingTower(nn.Module):
    """A tower that remembers how many images it was given at a time."""

    def __init__(self, tower):
        super().__init__()
        self.tower, self.calls = tower, []

    def forward(self, images):
        self.calls.append(len(images))
        return self.tower(images)


@pytest.mark.parametrize("loss", ["wbce", "infonce"])
def test_a_student_sees_pixels_texts_rates_and_similarities(loss):
    distilled = [distilled_phase(3), distilled_phase(4, seed=1)]
    for part, seen in zip(distilled, student_phases(distilled, loss, None, CPU), strict=True):
        assert torch.equal(seen.images, part.images) and torch.equal(seen.texts, part.text_embeddings)
        assert (seen.lr_image, seen.lr_text) == (part.inner_lr_image, part.inner_lr_text)
        if loss == "wbce":
            assert torch.equal(seen.similarity, part.similarity)
        else:
            assert seen.similarity is None


def test_a_frozen_tower_is_run_once_over_every_phase_however_long_the_training(make_factory):
    factory = make_factory(trainable=False)
    tower = CountingTower(factory.encoder.tower)
    distilled = [distilled_phase(120), distilled_phase(4, seed=1)]
    phases = student_phases(distilled, "wbce", tower, CPU)
    for _ in train_student(factory, factory.build(), phases, "wbce", CONFIG, 0, batch_size=10):
        pass
    assert tower.calls == [50, 50, 20, 4]
    for part, seen in zip(distilled, phases, strict=True):
        torch.testing.assert_close(seen.images, factory.encoder.tower(part.images), rtol=1e-4, atol=1e-6)
        assert not seen.images.requires_grad


def test_training_leaves_the_phases_and_the_tower_as_they_were(train, make_factory):
    part, untouched = phase(), phase()
    train([part])
    assert torch.equal(part.images, untouched.images) and torch.equal(part.texts, untouched.texts)
    assert torch.equal(part.similarity, untouched.similarity)
    factory = make_factory()
    before = {name: value.clone() for name, value in factory.encoder.tower.state_dict().items()}
    for _ in train_student(factory, factory.build(), [part], "wbce", CONFIG, 0, batch_size=3):
        pass
    assert equal(dict(factory.encoder.tower.state_dict()), before)


def test_augmentation_changes_the_images_of_every_mini_batch(train):
    seen, plain = Batches(), phase()
    train([replace(plain, augment=lambda images, generator: images + torch.rand((), generator=generator))], seen=seen)
    assert len({float((batch - plain.images.mean()).mean()) for batch in seen.images}) == len(seen.images) == 8
    assert all(not any(torch.equal(image, known) for known in plain.images) for batch in seen.images for image in batch)
