"""Distillations whose rates short ones choose, through the command line."""

import json

import pytest

from pairstill.cli import main
from pairstill.distilled import DistilledSet
from pairstill.run import rate_trials as module

TRIALS = ("--distill.rate_trials.steps=2", "--distill.rate_trials.scales=[0.1]")
OFF = ("--distill.validate_every=0", "--reuse=false")


def kept(folder):
    return json.loads((folder / "distillation" / "phases.rates.json").read_text())["trials"]


@pytest.mark.parametrize("warm", [(), ("--distill.features_first={steps: 3, inversion_steps: 2}",)], ids=["off", "on"])
def test_rates_are_chosen_once_and_go_on_where_they_stopped(
    do, tiny, options_of, same_set, tmp_path, monkeypatch, warm
):
    options = (*options_of["frozen"], *TRIALS, *OFF, *warm)
    undisturbed = do("distill", tmp_path / "undisturbed", *options)
    rates = DistilledSet.load(undisturbed / "distilled").provenance["rates"]
    assert [(t["outer"], t["inner"]) for t in rates["trials"]][:2] == [(1.0, 1.0), (0.1, 1.0)]
    assert rates["trials"] == kept(undisturbed) and len(rates["trials"]) == 3
    best = max(trial["validation_mean_recall"] for trial in rates["trials"])
    assert best in [t["validation_mean_recall"] for t in rates["trials"] if t["outer"] == rates["outer"]]
    assert not list((undisturbed / "distillation" / "phases.rates").iterdir()), "what a trial made is not kept"

    tried, left = module._tried, [2]

    def interrupted(*arguments):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return tried(*arguments)

    monkeypatch.setattr(module, "_tried", interrupted)
    folder = tmp_path / "run"
    assert main(tiny("distill", folder, *options)) == 130
    assert kept(folder) == rates["trials"][:2]
    left[0] = 1
    do("distill", folder, *options)
    assert kept(folder) == rates["trials"] and same_set(folder, undisturbed)


def test_the_whole_distillation_has_the_rates_that_were_chosen(do, options_of, same_set, tmp_path, monkeypatch):
    """The last trial is made the best; the pairs are those of a run that was given its rates."""
    recalls = iter((1.0, 2.0, 3.0))
    monkeypatch.setattr(module, "_tried", lambda *_: next(recalls))
    options, scales = (*options_of["frozen"], *OFF), "--distill.rate_trials.scales=[3.0]"
    chosen = do("distill", tmp_path / "chosen", *options, "--distill.rate_trials.steps=2", scales)
    provenance = DistilledSet.load(chosen / "distilled").provenance
    assert (provenance["rates"]["outer"], provenance["rates"]["inner"]) == (3.0, 3.0)
    outer, teacher = provenance["distill"]["outer"], provenance["teacher"]
    rates = [f"--distill.outer.{n}={3 * outer[n]}" for n in ("lr_images", "lr_texts", "lr_similarity", "lr_inner_lr")]
    rates += [f"--distill.{name}={3.0 * teacher[name]}" for name in ("lr_image", "lr_text")]
    given = do("distill", tmp_path / "given", *options, *rates)
    assert same_set(chosen, given) and "rates" not in DistilledSet.load(given / "distilled").provenance


def test_pairs_without_learned_rates_have_trials_of_outer_rates_alone(do, options_of, tmp_path, monkeypatch):
    tried, recalls = [], iter((1.0, 2.0))

    def recorded(short, *_):
        tried.append(short.config.outer.lr_images)
        return next(recalls)

    monkeypatch.setattr(module, "_tried", recorded)
    folder = do("distill", tmp_path / "run", *options_of["frozen"], *TRIALS, "--method=apm")
    assert tried == pytest.approx([0.1, 0.01]), "its own rate, which is no setting"
    assert DistilledSet.load(folder / "distilled").provenance["rates"]["outer"] == 0.1
