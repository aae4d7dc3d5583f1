import json
from dataclasses import fields, replace

import pytest
import torch

from pairstill.config import PhaseConfig, TeacherConfig, TrajectoryConfig
from pairstill.core.errors import NumericalError
from pairstill.encoders.cache import CachedRows
from pairstill.encoders.split import EncodedSplit
from pairstill.model.functional import loss_of_embeddings, pair_loss
from pairstill.storage import open_tensors
from pairstill.teachers.training import RealTraining, epochs_to_keep, record_expert, sgd, train_on_real_pairs
from pairstill.teachers.trajectory import Trajectory

TRAINING = RealTraining(
    epochs=3, batch_size=4, lr_image=0.1, lr_text=0.1, momentum=0.0, weight_decay=0.0, captions="all"
)


@pytest.fixture
def train(make_factory, make_split):
    """Train on a tiny split; return the parameters (copied) and the loss after each epoch."""

    def run(training=TRAINING, *seed, hook=None, **heads):
        factory = make_factory(**heads)
        initial, model = factory.initial_parameters(0), factory.build()
        if hook is not None:
            model.register_forward_hook(lambda _, inputs, outputs: hook(inputs, outputs))
        epochs = train_on_real_pairs(factory, model, initial, make_split(), training, *(seed or (0,)))
        return [({n: v.detach().clone() for n, v in parameters.items()}, loss) for parameters, loss in epochs], initial

    return run


def equal(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


def test_the_loss_falls(train):
    epochs, _ = train(replace(TRAINING, epochs=12))
    assert epochs[-1][1] < 0.8 * epochs[0][1]


def test_same_seed_same_bits_other_seed_other(train):
    first, again, other = (train(TRAINING, *seed)[0] for seed in ((0, "a"), (0, "a"), (0, "b")))
    assert all(equal(a, b) and x == y for (a, x), (b, y) in zip(first, again, strict=True))
    assert not equal(first[-1][0], other[-1][0])


def test_a_longer_training_begins_like_a_shorter_one(train):
    short, _ = train(replace(TRAINING, epochs=2))
    long, _ = train(replace(TRAINING, epochs=3))
    assert equal(short[1][0], long[1][0])


def test_the_start_is_copied(train, make_factory):
    _, initial = train()
    assert equal(initial, make_factory().initial_parameters(0))


@pytest.mark.parametrize(("momentum", "decay"), [(0.0, 0.0), (0.9, 0.01)])
def test_two_steps_by_hand(make_factory, make_split, momentum, decay):
    factory, split = make_factory(dropout=0.0), make_split(images=4, captions=1)
    model, initial = factory.build(), factory.initial_parameters(0)
    training = replace(
        TRAINING, epochs=2, batch_size=4, lr_image=0.3, lr_text=0.05, momentum=momentum, weight_decay=decay
    )
    for parameters, _ in train_on_real_pairs(factory, model, initial, split, training, 0):
        found = parameters
    expected = {name: value.clone() for name, value in initial.items()}
    velocity = {name: torch.zeros_like(value) for name, value in initial.items()}
    for _ in range(2):
        leaves = {name: value.requires_grad_() for name, value in expected.items()}
        everything = torch.arange(4)  # one batch of all pairs: the order does not change the loss
        batch = (split.image_inputs(everything), split.texts(everything), None)
        gradients = torch.autograd.grad(pair_loss(model, leaves, batch, "infonce", None), list(leaves.values()))
        for (name, value), gradient in zip(leaves.items(), gradients, strict=True):
            rate = 0.05 if name.startswith("text_") else 0.3
            velocity[name] = momentum * velocity[name] + gradient + decay * value.detach()
            expected[name] = (value - rate * velocity[name]).detach()
    for name in expected:
        torch.testing.assert_close(found[name].detach(), expected[name], rtol=1e-4, atol=1e-6)


def test_the_mean_at_twice_the_rates_is_the_sum(train):
    added, _ = train(replace(TRAINING, lr_image=0.05, lr_text=0.1, momentum=0.5), info_nce="sum")
    mean, _ = train(replace(TRAINING, lr_image=0.1, lr_text=0.2, momentum=0.5), info_nce="mean")
    for (one, loss), (other, half) in zip(added, mean, strict=True):
        assert loss == pytest.approx(2 * half, rel=1e-5)
        for name, value in one.items():
            torch.testing.assert_close(other[name], value, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("captions", "batch_size", "sizes"), [("all", 6, [6, 6, 4]), ("all", 5, [5, 5, 5]), ("sample", 3, [3, 3, 2])]
)
def test_batches_of_an_epoch(train, captions, batch_size, sizes):
    # 8 images with 2 captions; 16 = 5 + 5 + 5 + 1, and a single pair has no negatives
    seen = []

    def hook(inputs, _):
        images, texts, masks = inputs
        seen.append((len(images if texts is None else texts), len(masks.text)))

    train(replace(TRAINING, epochs=1, batch_size=batch_size, captions=captions), hook=hook)
    assert seen == [(size, size) for size in sizes for _ in ("images", "texts")]


def test_the_mean_loss_is_the_mean_over_batches(train):
    embedded = []
    epochs, _ = train(
        replace(TRAINING, epochs=2, batch_size=8),
        hook=lambda _, outputs: embedded.append(next(one.detach() for one in outputs if one is not None)),
    )
    values = [
        float(loss_of_embeddings(u, v, None, "infonce", "mean"))
        for u, v in zip(embedded[::2], embedded[1::2], strict=True)
    ]
    assert len(values) == 4
    for (_, loss), pair in zip(epochs, (values[:2], values[2:]), strict=True):
        assert loss == pytest.approx(sum(pair) / 2)


def test_divergence_names_the_epoch_and_the_settings(train):
    with pytest.raises(NumericalError, match=r"the loss is (nan|inf) in epoch 1; lower teacher.lr_image or lr_text"):
        train(replace(TRAINING, lr_image=1e38, lr_text=1e38, batch_size=2))


def test_augmentation_is_seeded_and_changes_the_images(train):
    augmented = replace(TRAINING, epochs=1, augment="paper")
    (first, _), (again, _), (plain, _) = train(augmented)[0][0], train(augmented)[0][0], train()[0][0]
    assert equal(first, again)
    assert not equal(first, plain)


def test_behind_a_frozen_tower_each_teacher_and_epoch_draws_views_of_its_own(make_factory, make_split):
    factory, split = make_factory(trainable=False, dropout=0.0), make_split(images=6, pixels=False)
    views = tuple(CachedRows([split.images.all() + view]) for view in range(3))
    seen = []

    class Watched(EncodedSplit):
        def view_inputs(self, index, drawn):
            seen.append(drawn.tolist())
            return super().view_inputs(index, drawn)

    watched = Watched(**{field.name: getattr(split, field.name) for field in fields(split)} | {"views": views})
    training = replace(TRAINING, epochs=3, batch_size=6, augment="paper")

    def drawn(training, *seed):
        seen.clear()
        initial = factory.initial_parameters(0)
        list(train_on_real_pairs(factory, factory.build(), initial, watched, training, *seed))
        return list(seen)

    one = drawn(training, 0, "expert", 0)
    assert one[0] == one[1] != one[2] == one[3] != one[4]  # two mini-batches an epoch: an image has one view in both
    assert drawn(replace(training, batch_size=4, epochs=2), 0, "expert", 0)[:6:3] == one[:4:2]
    assert drawn(training, 0, "expert", 1) != one
    assert drawn(training, 0, "expert", 0) == one


def test_of_one_view_that_is_the_image_itself_nothing_changes(make_factory, make_split):
    factory, split = make_factory(trainable=False), make_split(pixels=False)
    found = []
    for views, augment in (((), "none"), ((split.images,), "paper")):
        training = replace(TRAINING, augment=augment)
        seen = replace(split, views=views)
        epochs = train_on_real_pairs(factory, factory.build(), factory.initial_parameters(0), seen, training, 0)
        found.append([({n: v.detach().clone() for n, v in now.items()}, loss) for now, loss in epochs])
    for (a, x), (b, y) in zip(*found, strict=True):
        assert equal(a, b) and x == y


def test_sgd_has_a_rate_for_each_side():
    parameters = {name: torch.zeros(1, requires_grad=True) for name in ("image_tower.a", "image_head.a", "text_head.a")}
    optimizer = sgd(parameters, {"image": 1.0, "text": 2.0}, 0.5, 0.25)
    found = [(g["lr"], len(g["params"]), g["momentum"], g["weight_decay"]) for g in optimizer.param_groups]
    assert found == [(1.0, 2, 0.5, 0.25), (2.0, 1, 0.5, 0.25)]
    only_text = {"text_head.a": parameters["text_head.a"]}
    assert [g["lr"] for g in sgd(only_text, {"image": 1.0, "text": 2.0}, 0, 0).param_groups] == [2.0]


def test_training_of_a_teacher_takes_every_setting_of_the_same_name():
    config = TeacherConfig(
        epochs=7,
        batch_size=9,
        lr_image=0.2,
        lr_text=0.3,
        momentum=0.4,
        weight_decay=0.5,
        captions="sample",
        augment="paper",
    )
    training = RealTraining.of_teacher(config)
    assert all(getattr(config, name) == value for name, value in vars(training).items())


PHASES = (PhaseConfig(range_start=0, range_end=2, endpoint=6), PhaseConfig(range_start=2, range_end=4, endpoint=8))


@pytest.mark.parametrize(
    ("keep", "distill", "expected"),
    [
        ("endpoints", {}, (6, 8)),
        ("endpoints", {"shortcut": False}, (1, 2, 3, 4, 5)),
        ("endpoints", {"shortcut": False, "range_reading": "exclusive"}, (1, 2, 3, 4)),
        ("endpoints", {"shortcut": False, "phases": PHASES[1:], "matching_span": 2}, (2, 3, 4, 5, 6)),
        ("all", {}, (1, 2, 3, 4, 5, 6, 7, 8, 9, 10)),
    ],
)
def test_epochs_to_keep(keep, distill, expected):
    config = TrajectoryConfig(**{"phases": PHASES, **distill})
    assert epochs_to_keep(TeacherConfig(epochs=10, keep=keep), config) == expected


def test_an_expert_is_recorded_as_it_trained(make_factory, make_split, tmp_path):
    factory, split = make_factory(), make_split()
    seen, path = {}, tmp_path / "expert.safetensors"
    epochs = record_expert(factory, split, TRAINING, path, 0, "expert", 1, keep=(2, 3))
    for epoch, (parameters, loss) in enumerate(epochs, start=1):
        seen[epoch] = ({n: v.detach().clone() for n, v in parameters.items()}, loss)
    trajectory = Trajectory.open(path)
    assert list(seen) == [1, 2, 3] and trajectory.epochs == (2, 3)
    assert equal(trajectory.initial(), factory.initial_parameters(0, "expert", 1))
    for epoch in (2, 3):
        snapshot = trajectory.snapshot(epoch)
        for name, value in seen[epoch][0].items():
            way = (value - trajectory.initial()[name]).abs().max()
            assert (snapshot[name] - value).abs().max() < way / 1000
    with open_tensors(path) as stored:
        about = json.loads(stored.metadata()["about"])
    assert about["seed"] == [0, "expert", 1]
    assert about["training"]["momentum"] == 0.0 and about["training"]["lr_image"] == 0.1


def test_a_killed_expert_leaves_no_file(make_factory, make_split, tmp_path):
    epochs = record_expert(make_factory(), make_split(), TRAINING, tmp_path / "e.safetensors", 0, keep=(3,))
    with pytest.raises(KeyboardInterrupt):
        for _ in zip(range(2), epochs, strict=False):
            pass
        epochs.throw(KeyboardInterrupt())
    assert list(tmp_path.iterdir()) == []
