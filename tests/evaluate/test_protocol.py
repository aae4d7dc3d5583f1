from dataclasses import replace

import pytest
import torch

from pairstill.core.errors import DataError
from pairstill.evaluate.epochs import best_epochs
from pairstill.evaluate.protocol import recalls_on
from pairstill.evaluate.rates import RateChoice, Scales
from pairstill.evaluate.student import student_phases, train_student
from pairstill.teachers.training import RealTraining, train_on_real_pairs

METHODS = ["distilled", "random", "full"]


def readings(split):
    return split.images.readings, split.text_embeddings.readings


def shuffled(split):
    """The same pixels and texts under other pairs, on which every choice would be another."""
    order = torch.randperm(split.num_captions, generator=torch.Generator().manual_seed(4))
    return replace(split, caption_owner=split.caption_owner[order])


@pytest.fixture
def measure_all(distilled):
    """The outcomes of a student by every protocol that is asked for."""

    def run(evaluator, method, student=0):
        course = {"distilled": lambda: evaluator.of_pairs(distilled), "random": lambda: evaluator.random(6)}
        course = course.get(method, evaluator.full)()
        return evaluator.measure(course, student, evaluator.choose(course))

    return run


@pytest.fixture
def measure(measure_all):
    """The outcome of a student by the only protocol."""

    def run(evaluator, method, student=0):
        (outcome,) = measure_all(evaluator, method, student)
        assert outcome.protocol == evaluator.evaluate.protocol and outcome.ranks.recalls == outcome.recalls
        return outcome

    return run


def with_evaluate(evaluator, **settings):
    return replace(evaluator, evaluate=replace(evaluator.evaluate, **settings))


def with_references(evaluator, **settings):
    return with_evaluate(evaluator, references=replace(evaluator.evaluate.references, **settings))


def with_split(evaluator, **splits):
    return replace(evaluator, splits=replace(evaluator.splits, **splits))


def students_epochs(evaluator, distilled, seed, *splits):
    """The parameters of every epoch of a student, and its recalls on the splits, found without the protocol."""
    factory, model = evaluator.factory, evaluator.factory.build()
    phases = student_phases(distilled.phases, distilled.loss, evaluator.tower, factory.device)
    epochs = train_student(
        factory, model, phases, distilled.loss, evaluator.student, *seed, batch_size=evaluator.batch_size
    )
    return [(copied(now), *(recalls_on(model, now, split) for split in splits)) for _, now in epochs]


def copied(parameters):
    return {name: value.detach().clone() for name, value in parameters.items()}


def same(parameters, others):
    return parameters.keys() == others.keys() and all(torch.equal(parameters[n], others[n]) for n in parameters)


def without_time(outcome):
    return replace(outcome, seconds=0.0)


# strict


@pytest.mark.parametrize("trainable", [True, False])
@pytest.mark.parametrize("method", METHODS)
def test_strict_reads_the_test_split_exactly_once_for_an_outcome(make_evaluator, measure, method, trainable):
    evaluator = with_evaluate(make_evaluator(trainable=trainable), rate_scales=(0.1, 1.0))
    measure(evaluator, method)
    assert readings(evaluator.splits.test) == (1, 1)
    assert min(readings(evaluator.splits.val)) > 1
    measure(evaluator, method, 1)
    assert readings(evaluator.splits.test) == (2, 2)


@pytest.mark.parametrize("method", METHODS)
def test_strict_chooses_the_same_whatever_the_test_split_holds(make_evaluator, measure, method):
    evaluator = with_evaluate(make_evaluator(), rate_scales=(0.1, 1.0))
    found = measure(evaluator, method)
    other = measure(with_split(evaluator, test=shuffled(evaluator.splits.test)), method)
    assert without_time(replace(other, recalls=found.recalls)) == without_time(found)
    assert other.recalls != found.recalls
    # and the validation split does decide
    wrong = measure(with_split(evaluator, val=shuffled(evaluator.splits.val)), method)
    assert (wrong.validation, wrong.epoch, wrong.settings) != (found.validation, found.epoch, found.settings)


def test_strict_takes_the_best_epoch_on_validation_and_measures_it_on_test(make_evaluator, distilled):
    evaluator, chosen = make_evaluator(), set()
    for student in range(4):
        (found,) = evaluator.measure(evaluator.of_pairs(distilled), student)
        seed = (evaluator.seed, "student", student)
        epochs = students_epochs(evaluator, distilled, seed, evaluator.splits.val, evaluator.splits.test)
        parameters, on_val, on_test = zip(*epochs, strict=True)
        best = max(recalls.mean for recalls in on_val)
        first = next(number for number, recalls in enumerate(on_val) if recalls.mean == best)
        assert (found.epoch, found.validation) == (first + 1, best)
        assert found.recalls == on_test[first] and same(found.parameters, parameters[first])
        chosen.add(found.epoch)
    # were it always the last epoch, the choice would not be tested
    assert len(chosen) > 1


# paper


def test_paper_reports_the_best_epoch_on_the_test_split(make_evaluator, distilled):
    evaluator = with_evaluate(make_evaluator(), protocol="paper")
    for student in range(3):
        (found,) = evaluator.measure(evaluator.of_pairs(distilled), student)
        seed = (evaluator.seed, "student", student)
        on_test = [recalls for _, recalls in students_epochs(evaluator, distilled, seed, evaluator.splits.test)]
        assert found.recalls.mean == max(recalls.mean for recalls in on_test)
        assert on_test[found.epoch - 1] == found.recalls
        assert found.validation is None


@pytest.mark.parametrize("method", METHODS)
def test_paper_needs_the_validation_split_for_rates_alone(make_evaluator, measure, method):
    evaluator = with_evaluate(make_evaluator(), protocol="paper")
    measure(evaluator, method)
    assert readings(evaluator.splits.val) == (0, 0) and min(readings(evaluator.splits.test)) > 1
    reads = readings(evaluator.splits.test)[0]
    measure(with_evaluate(evaluator, rate_scales=(0.5, 1.0)), method)
    assert readings(evaluator.splits.test)[0] == 2 * reads, "no rate is chosen there"
    assert (readings(evaluator.splits.val)[0] > 0) == (method != "distilled")


# both


@pytest.mark.parametrize("method", METHODS)
def test_both_protocols_report_one_training_as_each_would_alone(make_evaluator, measure, measure_all, method):
    evaluator = with_evaluate(make_evaluator(), rate_scales=(0.1, 1.0))
    alone = [measure(with_evaluate(evaluator, protocol=protocol), method) for protocol in ("strict", "paper")]
    evaluator.factory.seeds.clear()
    found = measure_all(with_evaluate(evaluator, protocol="both"), method)
    assert list(map(without_time, found)) == list(map(without_time, alone))
    assert [outcome.protocol for outcome in found] == ["strict", "paper"]
    assert found[1].recalls.mean >= found[0].recalls.mean
    # one student for each rate that is tried, on validation alone, and one that is reported
    assert len(evaluator.factory.seeds) == (1 if method == "distilled" else 3 + 1)


@pytest.mark.parametrize("method", METHODS)
def test_beside_paper_strict_still_chooses_the_same_whatever_the_test_split_holds(make_evaluator, measure_all, method):
    evaluator = with_evaluate(make_evaluator(), rate_scales=(0.1, 1.0), protocol="both")
    found, paper = measure_all(evaluator, method)
    other, other_paper = measure_all(with_split(evaluator, test=shuffled(evaluator.splits.test)), method)
    assert without_time(replace(other, recalls=found.recalls)) == without_time(found)
    assert without_time(other_paper) != without_time(paper)
    # of the same epochs, the best on test is at least as good as the one that validation chose
    assert paper.recalls.mean >= found.recalls.mean and other_paper.recalls.mean >= other.recalls.mean


# the choice of an epoch


def entry(parameters, split):
    """The recall of parameters: the value of their entry that is named like the split."""
    return float(parameters[split])


def test_the_first_of_equal_epochs_is_chosen_and_copied():
    live = {"w": torch.zeros(())}

    def epochs():
        for epoch, value in ((2, 1.0), (4, 7.0), (6, 7.0), (8, 3.0)):
            live["w"].fill_(value)  # in place, as an optimiser does
            yield epoch, live

    found = best_epochs(entry, epochs(), {"strict": "w"}, {"rate": 0.5})["strict"]
    assert (found.epoch, found.recall, float(found.parameters["w"])) == (4, 7.0, 7.0)
    assert found.settings == {"rate": 0.5} and float(live["w"]) == 3.0


def test_an_epoch_is_chosen_even_when_nothing_is_ever_recalled():
    found = best_epochs(entry, [(1, {"w": torch.zeros(())}), (2, {"w": torch.zeros(())})], {"paper": "w"})["paper"]
    assert (found.epoch, found.recall, found.settings) == (1, 0.0, {}) and "w" in found.parameters


def test_every_protocol_chooses_an_epoch_of_its_own():
    recalls = [(1.0, 2.0), (3.0, 1.0), (2.0, 5.0)]
    epochs = [(n, {"val": torch.tensor(v), "test": torch.tensor(t)}) for n, (v, t) in enumerate(recalls, start=1)]
    found = best_epochs(entry, epochs, {"strict": "val", "paper": "test"})
    assert {protocol: (c.epoch, c.recall) for protocol, c in found.items()} == {"strict": (2, 3.0), "paper": (3, 5.0)}


def test_a_protocol_is_charged_for_training_and_for_its_own_choice():
    clock = [0.0]
    takes = {"val": 10.0, "test": 100.0}

    def recall(parameters, split):
        clock[0] += takes[split]
        return 1.0

    def epochs():
        for epoch in (1, 2):
            clock[0] += 1.0
            yield epoch, {"w": torch.zeros(())}

    found = best_epochs(recall, epochs(), {"strict": "val", "paper": "test"}, clock=lambda: clock[0])
    assert {protocol: candidate.seconds for protocol, candidate in found.items()} == {"strict": 22.0, "paper": 202.0}


# validation while distilling


@pytest.mark.parametrize("trainable", [True, False])
@pytest.mark.parametrize("protocol", ["strict", "paper"])
def test_validation_never_touches_the_test_split(make_evaluator, distilled, protocol, trainable):
    evaluator = with_evaluate(make_evaluator(trainable=trainable), protocol=protocol)
    recall = evaluator.validate(distilled)
    assert readings(evaluator.splits.test) == (0, 0) and min(readings(evaluator.splits.val)) > 0
    assert recall == evaluator.validate(distilled)
    assert with_split(evaluator, val=shuffled(evaluator.splits.val)).validate(distilled) != recall


def test_validation_is_the_best_epoch_of_the_last_phase_of_a_student_of_its_own(make_evaluator, distilled):
    evaluator = make_evaluator()
    found = evaluator.validate(distilled)
    assert readings(evaluator.splits.val)[0] == 4  # epochs of the second of two phases
    (seed,) = evaluator.factory.seeds
    means = [recalls.mean for _, recalls in students_epochs(evaluator, distilled, seed, evaluator.splits.val)]
    assert found == max(means[4:]) and len(means) == 8
    for student in range(2):
        evaluator.measure(evaluator.of_pairs(distilled), student)
    assert len(set(evaluator.factory.seeds)) == 3


# students and references


@pytest.mark.parametrize("method", METHODS)
def test_each_student_has_its_own_seed_and_gives_the_same_again(make_evaluator, measure, method):
    evaluator = make_evaluator()
    first, again, other = (measure(evaluator, method, student) for student in (0, 0, 1))
    assert without_time(first) == without_time(again) != without_time(other)
    assert without_time(measure(make_evaluator(seed=1), method)) != without_time(first)


def test_random_pairs_are_different_images_each_with_a_caption_of_its_own(make_evaluator):
    evaluator, drawn = make_evaluator(), []
    train = evaluator.splits.train
    pixels, texts = train.image_inputs(torch.arange(12)), train.texts(torch.arange(24))
    for student in range(3):
        evaluator.factory.seen.clear()
        evaluator.measure(evaluator.random(6), student)
        seen = evaluator.factory.seen[:4]  # of the first epoch: images, then texts, of two mini-batches
        assert [len(images) for images, _ in seen[::2]] == [len(t) for _, t in seen[1::2]] == [4, 2]
        rows = torch.cat([images for images, _ in seen[::2]])
        images = [int((pixels == image).flatten(1).all(1).nonzero()) for image in rows]
        captions = [int((texts == text).all(1).nonzero()) for _, some in seen[1::2] for text in some]
        assert images == train.caption_owner[captions].tolist() and len(set(images)) == 6
        drawn.append(frozenset(captions))
    assert len(set(drawn)) == 3 and evaluator.teacher.batch_size == 4


def test_random_pairs_may_be_all_images_but_not_more(make_evaluator):
    evaluator = make_evaluator()
    evaluator.measure(evaluator.random(12), 0)
    assert (
        sum(len(images) for images, _ in evaluator.factory.seen if images is not None) == 12 * evaluator.student.epochs
    )
    with pytest.raises(DataError, match="13 random pairs are asked for but the training split has 12 images"):
        evaluator.random(13)


@pytest.mark.parametrize("loss", ["wbce", "infonce"])
def test_distilled_pairs_train_with_their_own_loss_rates_and_mini_batch(make_evaluator, distilled, loss):
    evaluator, distilled = make_evaluator(), replace(distilled, loss=loss)
    (found,) = evaluator.measure(evaluator.of_pairs(distilled), 1)
    epochs = students_epochs(evaluator, distilled, (evaluator.seed, "student", 1))
    assert same(found.parameters, epochs[found.epoch - 1][0])


@pytest.mark.parametrize("method", ["random", "full"])
def test_validation_chooses_the_rates_of_a_reference_once_for_all_students(make_evaluator, measure, method):
    evaluator = make_evaluator()
    scaled = with_evaluate(evaluator, rate_scales=(1e-6, 0.5))
    course = {"random": lambda: scaled.random(6), "full": scaled.full}[method]()
    choice = scaled.choose(course)
    assert choice.rates_tried == 5 and max(t.recall for t in choice.trials) == scaled.try_scales(course, choice.scales)
    assert len({trial.recall for trial in choice.trials}) > 1
    name = {"random": "student", "full": "full"}[method]
    assert set(evaluator.factory.seeds) == {(0, name, "rates")}, "the student that chooses is none that is measured"
    for student in (0, 1):
        found = measure(scaled, method, student)
        assert found.choice == choice
        rates = {"lr_image": 0.2 * choice.scales.image, "lr_text": 0.3 * choice.scales.text}
        assert found.settings == pytest.approx(rates)


def test_random_pairs_of_the_student_that_chooses_are_a_draw_of_its_own(make_evaluator):
    evaluator, drawn = make_evaluator(), []
    course = evaluator.random(6)
    for student in ("rates", 0):
        evaluator.factory.seen.clear()
        list(course.train(student, Scales()))
        drawn.append(sorted(float(images.sum()) for images, _ in evaluator.factory.seen if images is not None))
    assert drawn[0] != drawn[1]


@pytest.mark.parametrize(("asked", "epochs"), [(5, 5), (None, 3)])
def test_full_data_trains_with_the_references_settings(make_evaluator, asked, epochs):
    evaluator = with_references(make_evaluator(), full_epochs=asked, momentum=0.5, weight_decay=0.25)
    (found,) = evaluator.measure(evaluator.full(), 0, RateChoice(Scales(2.0, 2.0)))
    assert found.settings == pytest.approx({"lr_image": 0.4, "lr_text": 0.6})
    training = RealTraining(
        epochs=epochs,
        batch_size=4,
        **found.settings,
        momentum=0.5,
        weight_decay=0.25,
        captions=evaluator.teacher.captions,
    )
    factory, split = evaluator.factory, evaluator.splits.train
    (seed,) = factory.seeds
    trained = train_on_real_pairs(factory, factory.build(), factory.initial_parameters(*seed), split, training, *seed)
    by_epoch = [copied(parameters) for parameters, _ in trained]
    assert same(found.parameters, by_epoch[found.epoch - 1])
    assert readings(evaluator.splits.val)[0] == epochs


@pytest.mark.parametrize("protocol", ["strict", "paper", "both"])
@pytest.mark.parametrize("method", METHODS)
def test_every_reading_of_the_test_split_is_counted(make_evaluator, measure_all, method, protocol):
    evaluator = with_evaluate(make_evaluator(), rate_scales=(0.5, 1.0), protocol=protocol)
    outcomes = measure_all(evaluator, method)
    tried = 1 if method == "distilled" else 3
    choices = {"distilled": 2 * 4, "random": 4, "full": 3}[method]  # phases times epochs
    reads = {"strict": 1, "paper": 1 + choices}
    assert {outcome.protocol: outcome.test_reads for outcome in outcomes} == {
        p: reads[p] for p in evaluator.evaluate.protocols
    }
    assert sum(outcome.test_reads for outcome in outcomes) == readings(evaluator.splits.test)[0]
    assert {outcome.choice.rates_tried for outcome in outcomes} == {tried}
