"""The stages of a run, together and alone."""

from functools import partial
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from pairstill.cli.command import Command, run_config, settings_parser
from pairstill.cli.running import open_pipeline, print_table
from pairstill.exchange.settings import SETTINGS

STAGES = {
    "run": "run every stage: prepare, teach, distill, evaluate",
    "prepare": "check the pairs and encode what frozen towers allow",
    "teach": "train the teachers and record their trajectories",
    "distill": "distil the pairs (trains teachers that are missing); --method chooses how",
    "select": "choose real pairs instead: --method random, herding, k_center or forgetting",
    "evaluate": "train students on the distilled set and the references, and measure recall",
}


def _run(name: str, parser: ArgumentParser, options: Namespace) -> int:
    config = run_config(parser, options, "distilled")
    pipeline, progress = open_pipeline(config)
    match name:
        case "prepare":
            manifest = pipeline.prepare()
            progress.print(f"{len(manifest.records)} images are ready; fingerprint {manifest.fingerprint[:16]}")
        case "teach":
            experts = pipeline.teach()
            progress.print(f"{len(experts)} experts are in {experts[0].parent}")
        case "distill":
            distilled = pipeline.distill()
            progress.print(
                f"{distilled.num_pairs} pairs ({distilled.pairs_equivalent:.2f} pairs' worth of bytes) are in "
                f"{pipeline.folder.distilled}"
            )
        case "select":
            selected = pipeline.select()
            progress.print(f"{selected.num_pairs} real pairs are in {pipeline.folder.distilled}")
        case "evaluate":
            if options.distilled is not None:
                pipeline.adopt(Path(options.distilled))
            print_table(pipeline.evaluate(), config)
        case _:
            print_table(pipeline.run(), config)
    pipeline.leave()
    return 0


def _evaluate_parser(text: str) -> ArgumentParser:
    parser = settings_parser("evaluate", text)
    parser.add_argument(
        "--distilled",
        type=str,
        default=None,
        help="measure these pairs, in a run that has none yet: an export of any format (whose settings.yaml comes "
        "before other settings), a run, or its distilled folder",
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
    return Command(name, text, partial(settings_parser, name, text), run)


COMMANDS = tuple(_command(name, text) for name, text in STAGES.items())
