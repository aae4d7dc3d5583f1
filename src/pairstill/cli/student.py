"""`pairstill student`: a trained student as a folder of its own."""

from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from pairstill.cli.command import Command, plain_parser, settings_of_run
from pairstill.cli.runs import open_run
from pairstill.exchange.settings import FORMS

NAME = "student"
TEXT = "write a student that is trained on a run's pairs as a folder, which `pairstill.load_student` reads"


def _parser(_: Sequence[str]) -> ArgumentParser:
    parser = plain_parser(NAME, TEXT)
    parser.add_argument("run", type=str, help="folder of the run; the student is trained if it is not kept there yet")
    parser.add_argument("--out", type=str, required=True, help="folder to make")
    parser.add_argument("--student", type=int, default=0, help="which of the evaluation's students, from 0")
    parser.add_argument(
        "--format",
        choices=FORMS,
        default=FORMS[0],
        help="the folder's: pairstill holds both sides; sentence_transformers the text side alone, of an encoder of "
        "transformers with a linear head",
    )
    return parser


def _run(parser: ArgumentParser, options: Namespace) -> int:
    from pairstill.studies.student.study import keep_student

    with open_run(settings_of_run(Path(options.run))) as (run, console):
        student = run.study(lambda context: keep_student(context, Path(options.out), options.student, options.format))
        if student is not None:
            recall = student.facts["retrieval_mean_recall"]
            console.print(f"The student is in {options.out} (mean recall on the test split {recall:.1f} %)")
    return 0


COMMAND = Command(NAME, TEXT, _parser, _run)
