"""Names and captions that would like to be code: in reports, comparisons, exports, tables and on the terminal."""

import json
import os
import shutil
from functools import partial
from pathlib import Path

from attacks.attack import Attack, Base, Step
from attacks.datasets_made import CAPTIONS, PHASES, SPLITS, encoded, write_pictures
from attacks.processes import settings_of

KIND = "names"
LIVE = "<script>alert(1)</script>"
NAMES = {
    "a script": LIVE,
    "an attribute": '" onload="alert(1)" x="',
    "an end of a comment": "--><img src=x onerror=alert(1)>",
    "an end of a script": "</script><script>alert(1)</script>",
    "a style": "</style><style>*{display:none}</style>",
    "a frame": "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "an SVG": "<svg onload=alert(1)>",
    "a link": "[x](javascript:alert(1))",
    "a table": "a | b || c",
    "a heading": "# a\n\n---\n\nb: c",
    "mathematics": "$\\frac{a}{b$ ^_",
    "LaTeX": "\\input{/etc/passwd} & % # _ {",
    "a formula": "=cmd|' /C calc'!A0",
    "markup": "[bold red]a[/bold red] [link=file:///etc/passwd]x[/link] [/]",
    "escapes": "\x1b[2J\x1b]0;x\x07\x9b31m",
    "direction": "\u202eabc\u2066x\u2069",
    "nothing to see": "\u200b\u200c\u2060",
    "emoji": "\U0001f600" * 20,
    "a format": "{0} %s %n ${HOME} `id` $(id)",
    "quotes": "'\"`´",
    "lines": "a\r\nb\u2028c\u2029d\x85e",
    "a long word": "x" * 3000,
}
FILE_NAMES = [name for name in NAMES if name not in ("a long word",)]


def names(base: Base) -> list[Attack]:
    """Return the attacks by names."""
    return [*_captions(), *_folders(base), *_outputs(base), *_terminals(base)]


def _no_live_code(folder: Path) -> None:
    """Look for tags in what was written as a page."""
    for page in (folder / "work").rglob("*.html"):
        text = page.read_text()
        for tag in (
            "<script>alert",
            "<img src=x",
            "<iframe srcdoc",
            "<svg onload",
            '" onload="alert',
            "<style>*{display",
        ):
            if tag in text:
                raise AssertionError(f"{page.name} holds {tag}")


def _captions() -> list[Attack]:
    """A caption and a picture's name, through a whole run, its report and an export."""

    def steps(name: str, folder: Path) -> list[Step]:
        write_pictures(folder / "user")
        text, rows = NAMES[name], []
        for number, (caption, split) in enumerate(zip(CAPTIONS, SPLITS, strict=True)):
            file = f"p{number}.png"
            if number < 2:
                caption = f"{text} {number}"
                file = f"{number}{text[:60].replace('/', '_')}.png"
                (folder / "user" / "images" / file).write_bytes(encoded(number))
            rows.append({"image": file, "caption": caption, "split": split})
        (folder / "user" / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        work = folder / "work"
        data = [
            "--data.source=table",
            f"--data.root={folder}/user",
            "--data.annotations=a.jsonl",
            "--data.images=images",
        ]
        quick = ["--student.epochs=1", "--evaluate.num_students=1", "--evaluate.methods=[distilled]"]
        return [
            ["run", *settings_of(work), PHASES, *data, *quick, "--data.captions=as_they_are"],
            ["report", f"{work}/run", "--retrieval=true"],
            ["export", f"{work}/run", "--format=imagefolder", f"--out={work}/exported", "--measure=never"],
            _no_live_code,
        ]

    return [Attack(KIND, f"captions: {name}", partial(steps, name)) for name in NAMES]


def _folders(base: Base) -> list[Attack]:
    """A run, and what is written of it, in folders with such names."""

    def steps(name: str, does: str, folder: Path) -> list[Step]:
        work, text = folder / "work", NAMES[name].replace("/", "_").replace("\0", "")[:60]
        run, out = work / f"r{text}", work / f"o{text}"
        shutil.copytree(base.path("run"), run)
        lines = {
            "report": ["report", str(run), f"--out={out}/page.html", "--retrieval=false"],
            "compare": ["compare", str(run), str(run), f"--out={out}", "--resamples=100"],
            "export": ["export", str(run), "--format=parquet", f"--out={out}", "--measure=never"],
            "shares": ["shares", str(run)],
        }
        return [lines[does], _no_live_code]

    found = []
    for number, name in enumerate(FILE_NAMES):
        for does in ("compare", ("report", "export", "shares")[number % 3]):
            found.append(Attack(KIND, f"folders: {does}, {name}", partial(steps, name, does), ends=(0,)))
    return found


def _outputs(base: Base) -> list[Attack]:
    """What is written goes where something is, or nothing can be."""

    def steps(does: str, out: str, folder: Path) -> list[Step]:
        shutil.copytree(base.path("run"), folder / "work" / "run")
        (folder / "user" / "file").write_text("the user's own")
        (folder / "user" / "full").mkdir()
        (folder / "user" / "full" / "a.txt").write_text("the user's own")
        (folder / "user" / "link").symlink_to(folder / "outside")
        os.mkfifo(folder / "user" / "fifo")
        run, where = f"{folder}/work/run", out.format(user=folder / "user")
        lines = {
            "report": ["report", run, f"--out={where}", "--retrieval=false"],
            "compare": ["compare", run, run, f"--out={where}", "--resamples=100"],
            "export": ["export", run, "--format=parquet", f"--out={where}", "--measure=never"],
        }
        return [lines[does]]

    found = []
    outs = ("{user}/file", "{user}/file/x", "{user}/full", "{user}/link", "{user}/fifo", "/dev/null/x", "/proc/x")
    outs += ("a\0b", "x" * 300, "", ".", "..")
    for does in ("report", "compare", "export"):
        for out in outs:
            writes = (
                does == "report"
                and out in ("{user}/file", "{user}/fifo")
                or does == "compare"
                and out in (".", "{user}/full")
            )
            if not writes:  # a page may be written over a file that was named for it
                found.append(Attack(KIND, f"out: {does} to {out[:20]!r}", partial(steps, does, out), ends=(1, 2)))
    return found


def _terminals(base: Base) -> list[Attack]:
    """Terminals that know ASCII or Latin-1 only."""

    def steps(does: str, folder: Path) -> list[Step]:
        work = folder / "work"
        shutil.copytree(base.path("run"), work / "run")
        shutil.copytree(base.path("cache"), work / "cache")
        run = str(work / "run")
        lines = {
            "run": ["run", *settings_of(work)],
            "report": ["report", run, "--retrieval=false"],
            "compare": ["compare", run, run, "--resamples=100"],
            "export": ["export", run, "--format=parquet", f"--out={work}/e\xe9", "--measure=never"],
            "shares": ["shares", run],
            "cache": ["cache", f"--cache_dir={work}/cache"],
            "methods": ["methods"],
            "reproduce": ["reproduce", "--list"],
            "help": ["run", "--help"],
            "wrong": ["run", "--sead=\xe9"],
            "plan": ["plan", *settings_of(work)],
        }
        return [lines[does]]

    found = []
    for encoding in ("ascii", "latin-1", "cp1252"):
        for does in (
            "run",
            "report",
            "compare",
            "export",
            "shares",
            "cache",
            "methods",
            "reproduce",
            "help",
            "wrong",
            "plan",
        ):
            ends = (2,) if does == "wrong" else (0,)
            make = partial(steps, does)
            found.append(Attack(KIND, f"terminal: {encoding}, {does}", make, ends=ends, encoding=encoding))
    return found
