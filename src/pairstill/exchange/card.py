"""The dataset card: what a stranger needs to know before using an exported set."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pairstill.core.formatting import counted
from pairstill.distilled import DistilledPhase, DistilledSet
from pairstill.exchange.png import PngCost, clipped_share
from pairstill.exchange.public import public_name
from pairstill.exchange.settings import WITH_PNG, Layout

UNKNOWN_LICENCE = "unknown: you must check"
SCENES_LICENCE = "Apache-2.0 (procedural scenes, made by pairstill)"
HUB_LICENCES = (
    *("unknown", "apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "odbl", "odc-by", "pddl", "gpl-3.0"),
    *(f"cc-{kind}-{version}" for kind in ("by", "by-sa", "by-nc", "by-nc-sa", "by-nd") for version in ("3.0", "4.0")),
    *("cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0"),
)
FILES: Mapping[Layout, str] = {
    "parquet": (
        "`pairs.parquet`, one row for each pair; `pixels`, `text_embedding` and `similarity_*` are exact float32 lists."
    ),
    "huggingface": (
        "`data/*.parquet` for `datasets.load_dataset`, one row for each pair. `image` is a PNG to look at; `pixels`, "
        "`text_embedding` and `similarity_*` are exact float32 lists."
    ),
    "webdataset": (
        "`pairs-*.tar`. Of each pair: `.png` to look at, `.json`, and the exact float32 arrays `.pixels.npy`, "
        "`.text_embedding.npy` and `.similarity_*.npy`."
    ),
    "imagefolder": (
        "`images/phaseN/*.png` to look at, with `images/metadata.jsonl`; the exact float32 tensors are in "
        "`pairs.safetensors`, as `phaseN-0000/pixels`, `/text_embedding` and `/similarity_*`."
    ),
}


PROTOCOLS: Mapping[str, str] = {
    "strict": "`strict` (epochs and rates are chosen on the validation split, the test split is read once)",
    "paper": "`paper` (the best on the test split, which is optimistic: what was chosen on it, and how often it was "
    "read for a student, stands beside the mean)",
}


@dataclass(frozen=True)
class CardFacts:
    """What the card says beyond the set itself.

    Attributes:
        method: the method's title.
        source: where the method comes from.
        licence: licence of the real pairs, or None if nobody said.
        results: a Markdown table of measured recalls, or None.
        protocols: the protocols of those results.
        png: what PNG costs, or why it was not measured.
        local_weights: whether the image tower's weights were a local file, which whoever reads the set must have too.
        caution: what must be said of the recalls, or empty.
    """

    method: str
    source: str
    licence: str | None
    results: str | None
    protocols: Sequence[str]
    png: PngCost | str
    local_weights: bool = False
    caution: str = ""


def card(distilled: DistilledSet, layout: Layout, facts: CardFacts) -> str:
    """Return the card of an export as Markdown with the hub's YAML header."""
    parts = [
        _header(layout, facts.licence),
        f"# {counted(distilled.num_pairs, 'distilled image-text pair')} ({facts.method})\n",
        _contents(distilled, layout),
        _making(distilled, facts),
        _sources(distilled, facts),
        _numbers(facts),
        _png(distilled, facts) if layout in WITH_PNG and not distilled.photos else "",
        _use(distilled, facts),
    ]
    return "\n".join(part for part in parts if part)


def _header(layout: Layout, licence: str | None) -> str:
    """Return the YAML header; the hub has ids for licences, and takes any other one by its name."""
    known = (licence or "unknown").strip().lower().replace(" ", "-")
    is_id = known in HUB_LICENCES
    named = f"license: {known}" if is_id else f"license: other\nlicense_name: {json.dumps(licence)}"
    data = "configs:\n- config_name: default\n  data_files: data/*.parquet\n" if layout == "huggingface" else ""
    return f"---\n{named}\ntags:\n- dataset-distillation\n- image-text-retrieval\n- pairstill\n{data}---\n"


def _contents(distilled: DistilledSet, layout: Layout) -> str:
    phases = "\n".join(
        f"| {number} | {phase.num_pairs} | {_rates(phase, 'image')} | {_rates(phase, 'text')} | "
        f"{_similarity(phase.similarity_factors)} |"
        for number, phase in enumerate(distilled.phases, start=1)
    )
    space = "the image tower's normalised input space"
    if distilled.towers:
        space = (
            "[0, 1], which each image tower resizes and normalises for itself; a phase's rates are those of the towers "
            "in the order below"
        )
    shape = " x ".join(str(side) for side in distilled.phases[0].images.shape[1:])
    return (
        "A small synthetic stand-in for a large set of image-text pairs, for retrieval models to train on, phase after "
        "phase.\n\n"
        "| phase | pairs | learned rate, image | learned rate, text | similarities |\n"
        f"| ---: | ---: | ---: | ---: | --- |\n{phases}\n\n"
        f"{_images(distilled, shape, space)}; texts are embeddings "
        f"({distilled.phases[0].text_embeddings.shape[1]}) of the text tower{_texts(distilled)}. A row of similarities "
        "goes with each pair (rows images, columns texts of the same phase). `caption` and `source` name the real pair "
        f"that a pair started from. Students train with the loss {_loss(distilled)}.\n\n"
        f"Files: {FILES[layout]} `pairstill.json` holds the rates, the encoders and a checksum of each file.\n"
    )


def _rates(phase: DistilledPhase, side: Literal["image", "text"]) -> str:
    """Return the learned rates of a side, of each tower."""
    return ", ".join(f"{getattr(rates, side):.4g}" for rates in phase.rates)


def _images(distilled: DistilledSet, shape: str, space: str) -> str:
    if distilled.photos:
        return f"Images are real photos, whose files are here; the image tower takes them as float32 tensors ({shape})"
    return f"Images are float32 tensors ({shape}) in {space}"


def _texts(distilled: DistilledSet) -> str:
    words = ", not strings"
    if all(phase.mixtures is not None for phase in distilled.phases):
        words = (
            ", each the sum of its captions' (`mixture`) times their weights (`mixture_weights`), so that any other "
            "text tower can make its own"
        )
    if distilled.glossary:
        words += (
            f"; by {counted(len(distilled.glossary), 'real caption')} (`glossary` in `pairstill.json`) the captions of "
            "any other text tower are read in their space"
        )
    return words


def _loss(distilled: DistilledSet) -> str:
    of = f", the {distilled.info_nce} of both directions" if distilled.loss == "infonce" else ""
    return f"`{distilled.loss}`{of}"


def _similarity(factors: Mapping[str, Any]) -> str:
    if not factors:
        return "identity"
    return "full matrix" if "matrix" in factors else "low rank: diag(weights) + scale left right^T"


def _training(tower: Mapping[str, Any]) -> str:
    """Return what of an image tower is trained."""
    if not tower.get("trainable", True):
        return "frozen"
    cut = tower.get("cut")
    return "trained" if cut is None else f"trained behind `{cut['module']}`, frozen before it"


def _making(distilled: DistilledSet, facts: CardFacts) -> str:
    image, text = distilled.image_encoder, distilled.text_encoder
    provenance = distilled.provenance
    towers = "".join(
        f"- Image tower: {_name(tower)}, {tower.get('size')} px, {_training(tower)}; digest `{tower.get('digest')}`.\n"
        for tower in distilled.towers or (image,)
    )
    return (
        "## How it was made\n\n"
        f"- Method: {facts.method} ({facts.source}); seed {provenance.get('seed', 'unknown')}; pairstill at commit "
        f"{provenance.get('commit') or 'unknown'}.\n"
        f"{towers}"
        f"- Text tower: {_name(text)}, frozen; digest `{text.get('digest')}`.\n"
        f"- Heads: `{json.dumps(dict(distilled.heads))}`.\n"
    )


def _name(encoder: Mapping[str, Any]) -> str:
    return public_name(str(encoder.get("name")))


def _sources(distilled: DistilledSet, facts: CardFacts) -> str:
    data = distilled.provenance.get("data", {})
    counts = data.get("captions", {}).get("train")
    pairs = counted(counts, "training pair") if counts is not None else "an unknown number of training pairs"
    known = SCENES_LICENCE if data.get("source") == "scenes" else UNKNOWN_LICENCE
    starts = distilled.provenance.get("distill", {}).get("init")
    traces = "" if starts == "noise" else " Images and captions started from real pairs and may still show them."
    if distilled.photos:
        traces = " **The images are real photos, as they were: the set is not anonymous.**"
    if any(phase.mixtures is not None for phase in distilled.phases):
        traces += " The texts are weighted real captions, in their authors' words."
    if distilled.glossary:
        traces += " The glossary is real captions, in their authors' words."
    return (
        "## Sources and licences\n\n"
        f"- Real pairs: source `{data.get('source', 'unknown')}`, {pairs}, fingerprint "
        f"`{data.get('fingerprint', 'unknown')}`.\n"
        f"- Their licence: {facts.licence or known}.{traces}\n"
        f"- The towers' weights have licences of their own: {UNKNOWN_LICENCE}.\n"
    )


def _numbers(facts: CardFacts) -> str:
    if facts.results is None:
        return "## Numbers\n\nNothing was measured in the run that made this set.\n"
    chosen = " and ".join(PROTOCOLS.get(protocol, f"`{protocol}`") for protocol in facts.protocols)
    caution = f"{facts.caution}.\n\n" if facts.caution else ""
    return f"## Numbers\n\nRecall on the test split in %, protocol {chosen}.\n\n{caution}{facts.results}"


def _png(distilled: DistilledSet, facts: CardFacts) -> str:
    clipped = 100 * clipped_share(distilled)
    what = (
        "## What PNG costs\n\nA PNG holds 8 bits between 0 and 1. Of the image values, "
        f"{clipped:.2g} % lie outside and are clipped; the others are rounded. "
    )
    if isinstance(facts.png, str):
        return f"{what}The recall that this costs: not measured ({facts.png}). The exact tensors are not affected.\n"
    spread = "" if facts.png.spread is None else f" ± {facts.png.spread:.2f}"
    means = [sum(values) / len(values) for values in (facts.png.exact, facts.png.png)]
    on_test = facts.png.protocol == "paper"
    chosen = ", chosen on the test split, which was read as often as stands above" if on_test else ""
    change = "loss" if round(facts.png.loss, 2) >= 0 else "gain"
    return (
        f"{what}Mean recall of {counted(len(facts.png.exact), 'student')}, trained on the PNG images instead of the "
        f"exact tensors, all else equal (protocol `{facts.png.protocol}`{chosen}): {means[1]:.2f} instead of "
        f"{means[0]:.2f}, a {change} of {abs(facts.png.loss):.2f}{spread} points. The exact tensors are not affected.\n"
    )


def _bound(distilled: DistilledSet) -> str:
    if distilled.glossary:
        return "- The texts are embeddings: other text towers need the set's own once, to encode its glossary.\n"
    if all(phase.mixtures is not None for phase in distilled.phases):
        return ""
    return "- The texts are embeddings: a set is of no use without its text tower.\n"


def _use(distilled: DistilledSet, facts: CardFacts) -> str:
    weights = " --image.weights WEIGHTS" if facts.local_weights else ""
    return (
        "## Intended use and limits\n\n"
        "For research on dataset distillation, and for training small image-text retrieval models with the encoders "
        "above.\n\n"
        "- The pairs are made for these towers, this loss and these rates. With others they work less well; nothing "
        "beyond the numbers above was measured.\n"
        "- Biases and errors of the real pairs are kept, and a few hundred pairs cannot cover what thousands do.\n"
        f"{_bound(distilled)}"
        "- Distillation is no anonymisation: do not publish a set whose real pairs you may not publish.\n\n"
        "## Reading it\n\n"
        f"```sh\npairstill evaluate --distilled THIS_FOLDER --data.root DATA{weights} --run_dir runs/check\n```\n\n"
        "```python\nfrom pathlib import Path\nfrom pairstill.exchange.folder import open_set\n\n"
        'distilled = open_set(Path("THIS_FOLDER"))   # phases, images, text_embeddings, similarity, rates\n```\n'
    )
