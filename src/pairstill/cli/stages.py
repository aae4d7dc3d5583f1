"""The stages of a run, together and alone."""

from functools import partial

from jsonargparse import ArgumentParser, Namespace

from pairstill.cli.command import Command, run_config, settings_parser
from pairstill.cli.running import open_pipeline, print_table

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
            print_table(pipeline.evaluate(), config)
        case _:
            print_table(pipeline.run(), config)
    pipeline.leave()
    return 0


COMMANDS = tuple(
    Command(name, text, partial(settings_parser, name, text), partial(_run, name)) for name, text in STAGES.items()
)
