"""The stages of a run, together and alone."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

from pairstill.cli.command import Command, run_config, settings_of_run, settings_parser
from pairstill.cli.runs import open_run, print_cells, print_table
from pairstill.config import RunConfig
from pairstill.core.errors import ConfigError
from pairstill.core.formatting import counted
from pairstill.exchange.settings import SETTINGS

if TYPE_CHECKING:
    from rich.console import Console

    from pairstill.run.pipeline import Run

STAGES = {
    "run": "run every stage: prepare, teach, distill, evaluate",
    "prepare": "check the pairs and encode what frozen towers allow",
    "teach": "train the teachers and record their trajectories",
    "distill": "distil the pairs (trains teachers that are missing); --method chooses how",
    "select": "choose real pairs instead: --method random, herding, k_center or forgetting",
    "evaluate": "train students on the distilled set and the references, and measure recall",
}


def _run(name: str, parser: ArgumentParser, options: Namespace) -> int:
    config = run_config(parser, options)
    if name == "select" and options.as_many_bytes_as is not None:
        config = _of_bytes(config, Path(options.as_many_bytes_as))
    with open_run(config) as (pipeline, progress):
        match name:
            case "prepare":
                manifest = pipeline.prepare()
                images = counted(len(manifest.records), "image")
                progress.print(f"Ready: {images}; fingerprint {manifest.fingerprint[:16]}")
                _write_encoded(pipeline, options, progress)
            case "teach":
                experts = pipeline.teach()
                progress.print(f"Trained: {counted(len(experts), 'expert')}, in {experts[0].parent}")
            case "distill":
                made = pipeline.distill()
                worth = f"{made.pairs_equivalent:.2f} pairs' worth of bytes"
                progress.print(f"Made: {counted(made.num_pairs, 'pair')} ({worth}), in {pipeline.folder.distilled}")
            case "select":
                chosen = counted(pipeline.select().num_pairs, "real pair")
                progress.print(f"Chosen: {chosen}, in {pipeline.folder.distilled}")
            case "evaluate":
                if options.distilled is not None:
                    pipeline.adopt(Path(options.distilled))
                _evaluate(pipeline, options)
            case _:
                print_table(pipeline.run(), config)
        pipeline.leave()
    return 0


def _of_bytes(config: RunConfig, other: Path) -> RunConfig:
    """Return the settings for as many photos with captions as take the bytes of another run's pairs on disk."""
    from pairstill.run.evaluate import distilled_set
    from pairstill.run.on_disk import disk_bytes, pairs_of_bytes

    with open_run(settings_of_run(other), writes=False) as (pipeline, _):
        size = disk_bytes(pipeline.context, distilled_set(pipeline.context))
        pairs = pairs_of_bytes(pipeline.context, size)
    return replace(config, distill=config.distill.with_pairs(pairs))


def _write_encoded(pipeline: "Run", options: Namespace, progress: "Console") -> None:
    from pairstill.run.encoded import EncodedFiles

    texts, features = (None if name is None else Path(name) for name in (options.texts_out, options.features_out))
    for path, rows in pipeline.write_encoded(EncodedFiles(texts, features, options.dtype)).items():
        progress.print(f"Written: {counted(rows, 'row')}, in {path}", markup=False)


def _evaluate(pipeline: "Run", options: Namespace) -> None:
    if not options.image_encoder and not options.text_encoder:
        if options.map_text:
            raise ConfigError("map_text is given but no other text encoder; name one with --text-encoder")
        print_table(pipeline.evaluate(), pipeline.config)
        return
    from pairstill.studies.cross_encoder.study import Crossing, cross

    asked = Crossing(tuple(options.image_encoder or ()), tuple(options.text_encoder or ()), options.map_text)
    print_cells(pipeline.study(lambda context: cross(context, asked)) or [])


def _prepare_parser(text: str, arguments: Sequence[str]) -> ArgumentParser:
    parser = settings_parser("prepare", text, arguments)
    parser.add_argument(
        "--texts_out",
        type=str,
        default=None,
        help="also write the embeddings of all captions to this safetensors file, for text.name precomputed",
    )
    parser.add_argument(
        "--features_out",
        type=str,
        default=None,
        help="also write the frozen tower's features of all images to this safetensors file, for image.features",
    )
    parser.add_argument(
        "--dtype", choices=("float32", "float16"), default="float32", help="how those files store numbers"
    )
    return parser


def _select_parser(text: str, arguments: Sequence[str]) -> ArgumentParser:
    parser = settings_parser("select", text, arguments)
    parser.add_argument(
        "--as_many_bytes_as",
        type=str,
        default=None,
        help="a run: choose as many pairs, in place of distill.num_pairs, as take the bytes of its pairs on disk; a "
        "real pair is a photo's file and a caption, and these are the mean ones of that run's training split",
    )
    return parser


def _evaluate_parser(text: str, arguments: Sequence[str]) -> ArgumentParser:
    parser = settings_parser("evaluate", text, arguments)
    parser.add_argument(
        "--distilled",
        type=str,
        default=None,
        help="measure these pairs, in a run that has none yet: an export of any format (whose settings.yaml comes "
        "before other settings), a run, or its distilled folder",
    )
    parser.add_argument(
        "--image_encoder",
        type=str,
        action="append",
        help="measure a matrix of students' encoders instead: an image tower as image.name has it, with weights as "
        "NAME=PATH, with options as NAME,size=64,weights=null; may be given several times (default: the run's own)",
    )
    parser.add_argument(
        "--text_encoder",
        type=str,
        action="append",
        help="a text tower for the matrix, as text.name has it, with options as NAME,pooling=mean; may be given "
        "several times (default: the run's own)",
    )
    parser.add_argument(
        "--map_text",
        action="store_true",
        help="map the pairs' text embeddings into the space of another text tower, by a ridge regression on the real "
        "training captions; sets with a glossary, or with texts that are mixtures of captions, need none",
    )
    return parser


def _with_settings_of_export(arguments: list[str]) -> list[str]:
    """Return the arguments of `evaluate`, with the settings in the export that `--distilled` names before them."""
    for option, value in zip(arguments, [*arguments[1:], ""], strict=True):
        name, _, joined = option.partition("=")
        settings = Path(joined or value) / SETTINGS
        if name == "--distilled" and settings.is_file():
            return ["--config", str(settings), *arguments]
    return arguments


def _command(name: str, text: str) -> Command:
    run = partial(_run, name)
    if name == "evaluate":
        return Command(name, text, partial(_evaluate_parser, text), run, expand=_with_settings_of_export)
    if name == "select":
        return Command(name, text, partial(_select_parser, text), run)
    if name == "prepare":
        return Command(name, text, partial(_prepare_parser, text), run)
    return Command(name, text, partial(settings_parser, name, text), run)


COMMANDS = tuple(_command(name, text) for name, text in STAGES.items())
