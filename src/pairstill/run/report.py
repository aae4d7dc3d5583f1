"""The page of a run, from what its folder holds and, where they are at hand, its real pairs."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from pairstill.config import RunConfig
from pairstill.core.errors import PairstillError
from pairstill.core.formatting import counted, duration, human_bytes, with_spread
from pairstill.core.provenance import commit, installed_version
from pairstill.distilled import TENSORS, DistilledSet, stored_pairs
from pairstill.evaluate.measurement import crossed
from pairstill.evaluate.results import TITLES, Row, made_title, of_tower, summarise
from pairstill.evaluate.retrieval import few_test_images
from pairstill.report.charts import draw
from pairstill.report.costs import cost_charts
from pairstill.report.curves import run_charts
from pairstill.report.gallery import PhaseView, Real, phase_view, picture_side
from pairstill.report.page import Fact, Page, Retrieval, rate_facts, recall_in_words, refuse_other_file, render
from pairstill.run.context import RunContext
from pairstill.run.description import check_data
from pairstill.run.evaluate import as_seen, current_results, unmeasured
from pairstill.run.examples import real_of, retrieval_examples, training_captions
from pairstill.run.folder import flat, plain, to_yaml
from pairstill.run.log import read_events, whole_events
from pairstill.storage import file_digest, read_object, read_sealed, write_text_atomic

STAGES = ("prepare", "teach", "distill", "select", "evaluate")
PROTOCOLS = {
    "strict": "epochs chosen on the validation split (protocol strict)",
    "paper": "the best epoch on the test split, which is optimistic (protocol paper); beside it: what was chosen on "
    "the test split, and how often that was read for a student",
}
Had = TypeVar("Had")
NO_PAIRS = "There are no pairs yet; they appear when the distillation has ended."


def report(context: RunContext, out: Path, *, retrieval: bool = True) -> None:
    """Write the page of a run as one HTML file; of a run that is not finished it shows what is there.

    Args:
        context: the run's, which only reads its folder.
        out: the file.
        retrieval: whether a student is trained for the retrieval examples.

    Raises:
        ConfigError: `out` is a file that is no such page.
    """
    refuse_other_file(out)
    events, damaged = whole_events(read_events(context.folder.path / "metrics.jsonl"))
    results = current_results(context)
    rows = summarise(results)
    distilled = DistilledSet.load(context.folder.distilled) if context.folder.is_distilled() else None
    phases, note = _phases(context, distilled)
    page = Page(
        title=f"{made_title(context.config)}, {context.folder.path.resolve().name}",
        state=" ".join(filter(None, (_state(context, events), damaged, f"Folder: {context.folder.path.resolve()}"))),
        facts=_in_short(context, distilled, rows),
        rows=rows,
        rows_note=" ".join(filter(None, (_unmeasured(context), _caution(context)))),
        rates=rate_facts(results),
        protocol="; ".join(PROTOCOLS[protocol] for protocol in context.config.evaluate.protocols),
        charts=[draw(chart) for chart in (*cost_charts(rows, _crossed(context)), *run_charts(events))],
        phases=phases,
        phases_note=note,
        rates_note=_rates_note(context, distilled),
        retrieval=_retrieval(context, distilled, asked=retrieval, at_hand=not note),
        times=_times(context, rows, events),
        provenance=_provenance(context, distilled),
        changed_settings=_changed(context.config),
        settings=to_yaml(context.config),
        made=f"Made {datetime.now(UTC):%Y-%m-%d %H:%M} UTC with pairstill {installed_version('pairstill')}"
        + (f", commit {made_by[:12]}." if (made_by := commit()) else "."),
    )
    write_text_atomic(out, render(page))


def _crossed(context: RunContext) -> list[dict[str, Any]]:
    """Return the results of students with other encoders on the run's pairs."""
    records = context.folder.ledger("cross").records()
    return crossed((record.facts for record in records), stored_pairs(context.folder.distilled))


def _if_at_hand(context: RunContext, what: str, get: Callable[[], Had]) -> Had | str:
    """Return what needs the real pairs or the encoders, or why it cannot be had."""
    try:
        return get()
    except (PairstillError, OSError) as error:
        reason = f"{what} cannot be shown, which needs the run's real pairs and encoders: {error}"
        context.warn(reason)
        return reason


def _phases(context: RunContext, distilled: DistilledSet | None) -> tuple[list[PhaseView], str]:
    """Return the phases, and why they lack their starts, or an empty word."""
    if distilled is None:
        return [], NO_PAIRS

    def starts() -> list[Real]:
        check_data(context, distilled)
        captions = training_captions(context)
        return [real_of(phase, captions, context.image.spec.resizing) for phase in distilled.phases]

    real = _if_at_hand(context, "Where the pairs started and what they are near to", starts)
    side = picture_side(distilled.num_pairs)
    views = [
        phase_view(number, phase, distilled.image_encoder, None if isinstance(real, str) else real[number - 1], side)
        for number, phase in enumerate(distilled.phases, start=1)
    ]
    return views, real if isinstance(real, str) else ""


def _rates_note(context: RunContext, distilled: DistilledSet | None) -> str:
    """Return how the rates of the pairs are to be read, if they are averages."""
    distill = {} if distilled is None else distilled.provenance.get("distill", {})
    learned = context.method.student == "learned_rates"
    averaged = learned and distill.get("ema")
    return " (moving averages; the curves and the log show the rates of each step)" if averaged else ""


def _retrieval(context: RunContext, distilled: DistilledSet | None, *, asked: bool, at_hand: bool) -> Retrieval | str:
    if distilled is None:
        return "There are no pairs yet that a student could be trained on."
    if not asked:
        return "The page was made with --retrieval false, which trains no student for examples."
    if not at_hand:
        return "The real pairs cannot be used; see Pairs for the reason."
    first = context.towers[0]
    return _if_at_hand(context, "Retrieval", lambda: retrieval_examples(first, as_seen(first, distilled)))


def _state(context: RunContext, events: Sequence[Mapping[str, Any]]) -> str:
    """Return in a sentence how far the run is."""
    config, left = context.config, _unmeasured(context)
    if context.folder.is_distilled():
        return f"The pairs are made. {left}" if left else "Finished."
    steps = [event for event in events if event["event"] == "distill_step"]
    if steps:
        last = steps[-1]
        where = f"phase {last['phase']} of {len(config.distill.phases)}, on {last['stage']}"
        return f"Not finished: the distillation is at step {last['step']:,} of {last['steps']:,} ({where})."
    epochs = sum(event["event"] == "teacher_epoch" for event in events)
    if epochs:
        wanted = context.num_teachers * config.teacher.epochs * len(config.images)
        return f"Not finished: {epochs:,} of {wanted:,} teacher epochs done."
    return "Not finished: no teacher has ended an epoch."


def _unmeasured(context: RunContext) -> str:
    """Return how many students are not measured yet, or an empty word."""
    missing, wanted = unmeasured(context)
    return f"Measured: {wanted - missing} of {counted(wanted, 'student')}." if missing else ""


def _caution(context: RunContext) -> str:
    """Return what is to be said of recalls on few test images, or an empty word."""
    caution = few_test_images(context.folder.test_images())
    return f"{caution}." if caution else ""


def _in_short(context: RunContext, distilled: DistilledSet | None, rows: Sequence[Row]) -> list[Fact]:
    facts, sizes = [], [row.bytes for row in rows if row.title.startswith(TITLES["full"])]
    if distilled is not None:
        many = len(distilled.phases) > 1
        facts.append(Fact("Pairs", f"{distilled.num_pairs:,}", f"in {len(distilled.phases)} phases" if many else ""))
    for tower in context.towers:
        facts += _recall_in_short(tower, rows)
    if distilled is not None:
        ratio = f"1/{sizes[0] / distilled.storage_bytes:,.0f} of full data" if sizes else ""
        facts.append(Fact("Storage", human_bytes(distilled.storage_bytes), ratio))
    making = sum(context.folder.all_seconds("teach", "distill", "select").values())
    if making:
        facts.append(Fact("Time", duration(making), "teachers and distillation"))
    return facts


def _recall_in_short(context: RunContext, rows: Sequence[Row]) -> list[Fact]:
    """Return what students behind the context's image tower reach, with its name where there are several."""
    tower = None if context.one_of is None else context.one_of.label
    first = context.config.evaluate.protocols[0]
    by_title = {row.title: row for row in rows if row.protocol == first}
    titles = (made_title(context.config), TITLES["random"], TITLES["full"])
    own, random, full = (by_title.get(of_tower(title, tower)) for title in titles)
    if own is None:
        return []
    recall = with_spread(own.mean, own.spread)
    facts = [Fact(of_tower("Mean recall", tower), recall, f"%, {counted(own.students, 'student')}")]
    if own.share is not None:
        note = f"which has {full.mean:.1f}" if full else ""
        facts.append(Fact(of_tower("Of full data", tower), f"{own.share:.0f} %", note))
    if random is not None:
        note = f"Random has {random.mean:.1f} with {counted(random.num_pairs, 'pair')}"
        facts.append(Fact(of_tower("Above Random", tower), f"{own.mean - random.mean:+.1f}", note))
    return facts


def _times(context: RunContext, rows: Sequence[Row], events: Sequence[Mapping[str, Any]]) -> list[Fact]:
    killed = context.folder.killed_seconds
    facts = [
        Fact(
            stage, duration(seconds), "with a sitting that was killed, up to its last event" if stage in killed else ""
        )
        for stage, seconds in context.folder.all_seconds(*STAGES).items()
    ]
    facts += [Fact(f"one student, {row.title}", duration(row.seconds), f"mean of {row.students}") for row in rows]
    peaks = [event["peak_memory_bytes"] for event in events if event["event"] == "stage"]
    if peaks:
        facts.append(Fact("peak memory", human_bytes(max(peaks))))
    steps = [event["time"] for event in events if event["event"] == "distill_step"]
    gaps = sorted(later - earlier for earlier, later in zip(steps, steps[1:], strict=False))
    if gaps:
        facts.append(Fact("an outer step", f"{gaps[len(gaps) // 2]:.2f} s", f"median of {len(gaps):,}"))
    return facts


def _provenance(context: RunContext, distilled: DistilledSet | None) -> list[Fact]:
    folder = context.folder.path
    facts = [Fact("method", made_title(context.config), context.method.source), Fact("seed", str(context.config.seed))]
    if (folder / "data.json").is_file():
        data = read_sealed(folder / "data.json", "source", "images", "dropped", "fingerprint")
        counts = ", ".join(f"{split} {counted(data['images'][split], 'image')}" for split in ("train", "val", "test"))
        dropped = f"{counted(len(data['dropped']), 'bad pair')} left out" if data["dropped"] else ""
        facts += [Fact("real pairs", f"{data['source']}: {counts}", dropped), Fact("data", data["fingerprint"])]
        facts += _told_of(data)
    if distilled is not None:
        images = [("image tower", tower) for tower in distilled.towers or (distilled.image_encoder,)]
        for name, encoder in (*images, ("text tower", distilled.text_encoder)):
            facts.append(Fact(name, f"{encoder['name']}, {encoder['width']} wide", f"digest {encoder['digest'][:16]}"))
        facts += _chosen_rates(distilled)
        made = distilled.provenance.get("commit")
        facts += [
            Fact("pairs made by", f"commit {made}" if made else "code outside of version control"),
            Fact(TENSORS, f"sha256 {file_digest(context.folder.distilled / TENSORS)}"),
        ]
    if (folder / "environment.json").is_file():
        environment = read_object(folder / "environment.json", "packages", "python", "machine")
        packages = ", ".join(f"{name} {version}" for name, version in environment["packages"].items() if version)
        facts.append(Fact("last used with", f"Python {environment['python']}, {packages}", environment["machine"]))
    return facts


def _chosen_rates(distilled: DistilledSet) -> list[Fact]:
    """Return at which rates the pairs were made, if short distillations chose them."""
    rates = distilled.provenance.get("rates")
    if rates is None:
        return []
    tried = ", ".join(
        f"{trial['outer']:g} and {trial['inner']:g}: {recall_in_words(trial['validation_mean_recall'])}"
        for trial in rates["trials"]
    )
    value = f"outer times {rates['outer']:g}, initial inner times {rates['inner']:g}"
    return [Fact("rates of the distillation", value, f"validation recall of short ones at {tried}")]


def _told_of(data: Mapping[str, Any]) -> list[Fact]:
    """Return how the splits came to be, and what they have in common; runs of older versions do not know."""
    facts = [Fact("splits", data["division"], "drawn by image")] if data.get("division") else []
    facts += [Fact("pairs", note) for note in data.get("notes", ())]
    overlaps, captions = data.get("overlaps"), data["captions"]
    if overlaps is None:
        return facts
    tie = "two images of one wording: an image's own caption ties with the other's, and a tie counts as a miss"
    counts = (
        ("captions in train, too", f"val {overlaps['val_captions']:,} of {captions['val']:,}, test "
         f"{overlaps['test_captions']:,} of {captions['test']:,}", "word for word, as they are encoded"),
        ("test captions of several images", f"{overlaps['equal_test_captions']:,} of {captions['test']:,}", tie),
    )  # fmt: skip
    facts += [Fact(*each) for each in counts]
    if overlaps["pictures"]:
        facts.append(Fact("pictures in two splits", f"{overlaps['pictures']:,}", "pixel for pixel, in other files"))
    return facts


def _changed(config: RunConfig) -> list[Fact]:
    defaults = flat(plain(RunConfig()))
    changed = {name: value for name, value in flat(plain(config)).items() if defaults.get(name) != value}
    return [
        Fact(name, _value(value), f"default {_value(defaults[name])}" if name in defaults else "")
        for name, value in changed.items()
    ]


def _value(value: Any) -> str:
    if isinstance(value, list):
        return "; ".join(_value(entry) for entry in value)
    if isinstance(value, dict):
        return ", ".join(f"{name} {_value(entry)}" for name, entry in value.items())
    return "none" if value is None else str(value)
