"""Listings, tables, shards and hub folders that are damaged, forged or foreign."""

import json
import os
import shutil
import tarfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from attacks.attack import BYTES, PLACES, VALUES, Attack, Base, Step, damage
from attacks.datasets_made import (
    CAPTIONS,
    HUB,
    PAIRS,
    encoded,
    listing,
    prepare,
    samples,
    shard_options,
    tarred,
    write_listing,
    write_pictures,
    write_saved,
    write_shards,
)

KIND = "sources"
FIELDS = {
    "karpathy": ("filename", "filepath", "split", "sentences"),
    "coco": ("id", "file_name", "image_id", "caption"),
    "blip": ("image", "caption"),
    "llava_cc3m": ("image", "caption"),
    "chat": ("conversations",),
    "jsonl": ("image", "caption", "split"),
    "csv": ("image", "split"),
    "parquet": ("image", "caption"),
}
DRAWN = "--data.split=random 4:1:1"
SOURCE = {"chat": "llava_cc3m", "jsonl": "table", "csv": "table", "parquet": "table"}


def sources(base: Base) -> list[Attack]:
    """Return the attacks on sources of pairs."""
    return [*_fields(), *_whole_files(), *_tables(), *_folders(), *_shards(), *_hub()]


def _list(folder: Path, source: str, name: str, *options: str) -> list[Step]:
    annotations = (f"--data.annotations={name}", "--data.images=images")
    options = (*options, DRAWN) if source in ("coco", "blip") else options
    return [prepare(folder, SOURCE.get(source, source), *annotations, *options)]


def _fields() -> list[Attack]:
    """One field of the first entry holds something else."""

    def steps(source: str, field: str, value: Any, bad: str, folder: Path) -> list[Step]:
        write_pictures(folder / "user")
        entries = listing(source)
        entries[0][field] = value.format(outside=folder / "outside") if isinstance(value, str) else value
        if field == "sentences" and isinstance(value, str):
            entries[0][field] = [{"raw": value}]
        return _list(folder, source, write_listing(folder / "user", source, entries), f"--data.on_bad_pair={bad}")

    found = []
    for source, fields in FIELDS.items():
        for number, (field, (name, value)) in enumerate((f, v) for f in fields for v in VALUES.items()):
            if source == "parquet" and not isinstance(value, str) or (source == "parquet" and name == "surrogate"):
                continue  # a column has one type
            if source == "csv" and name == "surrogate":
                continue  # no text in UTF-8 holds it
            bad = "drop" if number % 3 == 2 else "error"
            make = partial(steps, source, field, value, bad)
            found.append(Attack(KIND, f"{source} {field} is {name} ({bad})", make, samples=PAIRS))
    return found


def _whole_files() -> list[Attack]:
    """The listing's file is another one."""

    def steps(source: str, how: str, folder: Path) -> list[Step]:
        write_pictures(folder / "user")
        name = write_listing(folder / "user", source, listing(source))
        damage(folder / "user" / name, how, folder / "outside")
        return _list(folder, source, name)

    whole = [*BYTES, *PLACES]
    found = []
    for source in FIELDS:
        for how in whole:
            if source in ("csv", "jsonl") and how.startswith(("cut", "flipped", "emptied", "twice")):
                continue  # a line less is a table too; see below
            if source == "chat" or (source != "parquet" and how.startswith("flipped")):
                continue  # text has no checksum: another letter is another caption
            # its end names the program that wrote it; of two in a row the last is read
            unsure = source == "parquet" and how in ("flipped at the end", "twice")
            ends = None if unsure else (1, 2)
            found.append(Attack(KIND, f"{source} {how}", partial(steps, source, how), samples=PAIRS, ends=ends))
    return found


def _tables() -> list[Attack]:
    """Tables of text: cut anywhere, with long fields, open quotes, odd encodings and headers."""

    def steps(name: str, content: Callable[[str], str | bytes], options: tuple[str, ...], folder: Path) -> list[Step]:
        write_pictures(folder / "user")
        source = name.rsplit(".")[-1]
        made = folder / "user" / write_listing(folder / "user", source, listing(source))
        new = content(made.read_bytes().decode())
        made.write_bytes(new if isinstance(new, bytes) else new.encode())
        return _list(folder, source, made.name, *options)

    def kept(text: str, share: float) -> str:
        return text[: int(share * len(text))]

    found = []
    for source in ("csv", "jsonl"):
        text = "image,caption,split\r\n" if source == "csv" else ""
        for number, caption in enumerate(CAPTIONS):
            row = listing("table")[number]
            text += f"p{number}.png,{caption},{row['split']}\r\n" if source == "csv" else json.dumps(row) + "\n"
        for share in (0.1, 0.3, 0.5, 0.7, 0.9, 0.97):
            lines = [line for line in kept(text, share).splitlines() if line.strip()]
            count = len(lines) - (source == "csv")
            make = partial(steps, f"a.{source}", partial(kept, share=share), ())
            found.append(Attack(KIND, f"{source} cut at {share}", make, samples=max(count, 0)))
    row = "p0.png,{},train\r\n"
    texts: dict[str, Callable[[str], str | bytes]] = {
        "a field of 200,000 characters": lambda t: t + row.format("x" * 200_000),
        "an open quote": lambda t: t.replace("a caption of picture 2", '"a caption of picture 2'),
        "a column twice": lambda t: t.replace("image,caption,split", "image,caption,caption"),
        "the column split twice": lambda t: t.replace("\r\n", ",train\r\n").replace("split,train", "split,split"),
        "no header": lambda t: t.split("\r\n", 1)[1],
        "only a header": lambda t: t.split("\r\n", 1)[0],
        "semicolons": lambda t: t.replace(",", ";"),
        "UTF-16": lambda t: t.encode("utf-16"),
        "Latin-1": lambda t: t.replace("caption of", "capti\xf6n of").encode("latin-1"),
        "NUL bytes": lambda t: t.replace("picture 1", "picture\0 1"),
        "a field too many": lambda t: t.replace("picture 1", "picture, 1"),
        "a field too few": lambda t: t.replace(",val", ""),
        "escapes": lambda t: t.replace("picture 1", "picture \x1b[2J 1").replace("p2.png", "p2\x1b[31m.png"),
        "carriage returns alone": lambda t: t.replace("\r\n", "\r"),
        "a byte order mark": lambda t: "\ufeff" + t,
        "quotes inside": lambda t: t.replace("a caption of picture 1", '"a ""quoted"" caption\r\nof two lines"'),
    }
    for name, content in texts.items():
        for bad in ("error", "drop"):
            make = partial(steps, "a.csv", content, (f"--data.on_bad_pair={bad}",))
            twice = "twice" in name or name == "only a header"
            found.append(
                Attack(KIND, f"csv {name} ({bad})", make, None if twice else PAIRS, ends=(1, 2) if twice else None)
            )
    return found


def _folders() -> list[Attack]:
    """A folder of images with texts: one text is another file, or holds something else."""

    def steps(content: bytes | None, how: str, bad: str, folder: Path) -> list[Step]:
        write_pictures(folder / "user")
        images = folder / "user" / "images"
        for number, caption in enumerate(CAPTIONS):
            (images / f"p{number}.txt").write_text(caption)
        if content is None:
            damage(images / "p0.txt", how, folder / "outside")
        else:
            (images / "p0.txt").write_bytes(content)
        (images / "escape\x1b[2J.txt").write_text("x")
        return [prepare(folder, "folder", "--data.images=images", DRAWN, f"--data.on_bad_pair={bad}")]

    texts = {name: str(value).encode(errors="surrogatepass") for name, value in VALUES.items()}
    texts["megabytes"] = b"word " * 4_000_000
    texts["a list cut short"] = b'["one", "tw'
    texts["a list that nests"] = b"[" * 100_000
    # an emptied or removed text leaves a picture without one, and of words half a caption is one
    whole = [how for how in (*BYTES, *PLACES) if how == "emptied" or how in PLACES or how == "every byte"]
    found = []
    for bad in ("error", "drop"):
        for name, content in texts.items():
            made = partial(steps, content, "", bad)
            found.append(Attack(KIND, f"folder a text that is {name} ({bad})", made, samples=PAIRS))
        for how in whole:
            made = partial(steps, None, how, bad)
            found.append(Attack(KIND, f"folder a text {how} ({bad})", made, samples=PAIRS))
    return found


def _shards() -> list[Attack]:
    """Tar shards that are cut, flipped, nested in odd ways or full of odd members."""
    whole = tarred(samples([0, 1, 2, 3]))

    def steps(train: bytes, form: str, folder: Path) -> list[Step]:
        return [prepare(folder, "webdataset", *write_shards(folder / "user", train, form))]

    def odd(kind: bytes, link: str, folder: Path) -> list[Step]:
        info = tarfile.TarInfo("odd.png")
        info.type, info.linkname = kind, link.format(outside=folder / "outside")
        members = [*samples([0, 1, 2, 3]), (info, b""), ("odd.txt", b"a caption")]
        return [prepare(folder, "webdataset", *write_shards(folder / "user", tarred(members)))]

    def named(pattern: str, folder: Path) -> list[Step]:
        write_shards(folder / "user")
        for number in range(2):
            (folder / "user" / f"s-{number:03d}.tar").write_bytes(tarred(samples([2 * number, 2 * number + 1])))
        shutil.copy(folder / "user" / "train.tar", folder / "outside" / "train.tar")
        (folder / "user" / "link").symlink_to(folder / "outside")
        os.mkfifo(folder / "user" / "fifo.tar")
        chosen = pattern.format(outside=folder / "outside")
        return [prepare(folder, "webdataset", *shard_options(chosen))]

    found = []
    for at in [*range(0, len(whole), 700), len(whole) - 1, len(whole) - 512, len(whole) - 1024, len(whole) - 1025]:
        lost = at < len(whole.rstrip(b"\0")) + 1024
        made = partial(steps, whole[:at], "")
        found.append(Attack(KIND, f"webdataset cut at {at}", made, samples=PAIRS, ends=(1,) if lost else None))
    for form in ("gz", "bz2", "xz"):
        packed = tarred(samples([0, 1, 2, 3]), form)
        for share in (0.0, 0.2, 0.5, 0.8, 0.99):
            made = partial(steps, packed[: int(share * len(packed))], form)
            found.append(Attack(KIND, f"webdataset {form} cut at {share}", made, samples=PAIRS, ends=(1,)))
    for at in range(0, 512, 40):
        spoiled = whole[:at] + bytes([whole[at] ^ 0x41]) + whole[at + 1 :]
        found.append(Attack(KIND, f"webdataset header flipped at {at}", partial(steps, spoiled, ""), samples=PAIRS))
    plain = samples([0, 1, 2, 3])
    contents: dict[str, tuple[bytes, int | None]] = {
        "no caption": (tarred(plain[:-1]), PAIRS),
        "no picture": (tarred(plain[1:]), PAIRS),
        "interleaved": (tarred(plain[::2] + plain[1::2]), PAIRS),
        "a name twice": (tarred([*plain, *samples([0])]), PAIRS),
        "no members": (tarred([]), PAIRS),
        "names that lead out": (tarred([(f"../../outside/{n}", c) for n, c in plain]), PAIRS),
        "absolute names": (tarred([(f"/tmp/{n}", c) for n, c in plain]), PAIRS),
        "names with escapes": (tarred([*plain, ("\x1b[2Jx.png", encoded(0)), ("\x1b[2Jx.jpg", b"")]), PAIRS),
        "long names": (tarred([("d/" * 400 + str(n), c) for n, c in plain]), PAIRS),
        "a byte order mark": (tarred([*plain[:1], ("s0.txt", b"\xef\xbb\xbfa caption"), *plain[2:]]), PAIRS),
        "a caption that is no text": (tarred([*plain[:1], ("s0.txt", b"\xff\xfe"), *plain[2:]]), PAIRS),
        "an empty picture": (tarred([("s0.png", b""), *plain[1:]]), PAIRS),
        "two archives in one": (whole + tarred(samples([0])), PAIRS),
        "no archive": (b"no archive at all" * 100, PAIRS),
        "zeros": (b"\0" * 10240, PAIRS),
    }
    for name, (content, count) in contents.items():
        found.append(Attack(KIND, f"webdataset {name}", partial(steps, content, ""), samples=count))
    links = {"link": tarfile.SYMTYPE, "hard link": tarfile.LNKTYPE, "FIFO": tarfile.FIFOTYPE, "device": tarfile.CHRTYPE}
    for name, kind in links.items():
        made = partial(odd, kind, "{outside}/secret.png")
        found.append(Attack(KIND, f"webdataset a member that is a {name}", made, samples=PAIRS))
    patterns: dict[str, int | None] = {
        **dict.fromkeys(("s-{{000..001}}.tar", "s-{{000..003}}.tar", "s-*.tar"), PAIRS),
        **dict.fromkeys(("../outside/*.tar", "{outside}/train.tar", "link/*.tar", "fifo.tar", "**", "", "[", "no.tar")),
        **dict.fromkeys(("pipe:touch pwned", "a\0b.tar", "s-{{", "s-{{000..999999999999}}.tar", "{{,}}")),
    }
    for pattern, count in patterns.items():
        found.append(Attack(KIND, f"webdataset shards {pattern!r}", partial(named, pattern), samples=count))
    return found


def _hub() -> list[Attack]:
    """Folders of the package datasets: damaged files, and cells that name files."""

    def cell(value: dict[str, Any] | None, folder: Path) -> list[Step]:
        where = folder / "outside"
        os.mkfifo(folder / "user" / "fifo")
        path = None if value is None else value["path"]
        if path is not None:
            value = {**(value or {}), "path": path.format(outside=where, user=folder / "user")}
        write_saved(folder / "user", {0: value})
        (folder / "user" / "link.png").symlink_to(where / "secret.png")
        return [prepare(folder, "huggingface", *HUB)]

    def damaged(name: str, how: str, folder: Path) -> list[Step]:
        write_saved(folder / "user")
        damage(next((folder / "user").glob(name)), how, folder / "outside")
        return [prepare(folder, "huggingface", *HUB)]

    def state(name: str, folder: Path) -> list[Step]:
        write_saved(folder / "user")
        path = folder / "user" / "train" / "state.json"
        shutil.copytree(folder / "user" / "train", folder / "outside" / "train")
        content = json.loads(path.read_text())
        content["_data_files"][0]["filename"] = name.format(outside=folder / "outside")
        path.write_text(json.dumps(content))
        return [prepare(folder, "huggingface", *HUB)]

    def loose(files: dict[str, str], folder: Path) -> list[Step]:
        write_pictures(folder / "user")
        shutil.copy(folder / "user" / "images" / "p0.png", folder / "outside" / "p0.png")
        for name, text in files.items():
            (folder / "user" / name).write_text(text.format(outside=folder / "outside"))
        return [prepare(folder, "huggingface", *HUB)]

    found = []
    paths = (None, "{outside}/secret.png", "../outside/secret.png", "/dev/zero", "{user}/fifo", "fifo", "a\0b", "", ".",
             "link.png", "{user}/link.png", "no.png", "zip://a.png::b.zip", "~")  # fmt: skip
    for path in paths:
        made = partial(cell, {"bytes": None, "path": path})
        found.append(Attack(KIND, f"huggingface a cell whose path is {path!r}", made, samples=PAIRS))
    for name, content in {"no bytes": b"", "text": b"no picture", "a cut picture": encoded(0)[:200]}.items():
        made = partial(cell, {"bytes": content, "path": None})
        found.append(Attack(KIND, f"huggingface a cell with {name}", made, samples=PAIRS))
    found.append(Attack(KIND, "huggingface a cell that is null", partial(cell, None), samples=PAIRS))
    for name in ("dataset_dict.json", "train/state.json", "train/dataset_info.json", "train/*.arrow"):
        for how in (
            "emptied",
            "cut in half",
            "{}",
            "null",
            "[]",
            "flipped at the end",
            "removed",
            "a folder",
            "a FIFO",
        ):
            unsure = how == "flipped at the end"  # Arrow has no checksums
            made = partial(damaged, name, how)
            found.append(Attack(KIND, f"huggingface {name} {how}", made, samples=None if unsure else PAIRS))
    for name in (
        "../../outside/train/data-00000-of-00001.arrow",
        "{outside}/train/data-00000-of-00001.arrow",
        "/dev/zero",
    ):
        found.append(Attack(KIND, f"huggingface state.json names {name}", partial(state, name), ends=(1, 2)))
    table = "file_name,caption\nimages/p0.png,one\n../outside/p0.png,two\n"
    cards = {
        "a card that leads out": {
            "README.md": "---\nconfigs:\n- config_name: default\n  data_files: '{outside}/*'\n---\n"
        },
        "a card that climbs": {"README.md": "---\nconfigs:\n- config_name: default\n  data_files: '../**'\n---\n"},
        "a script": {"user.py": "open('{outside}/pwned', 'w')\n", "dataset.py": "open('{outside}/pwned', 'w')\n"},
        "metadata that leads out": {"metadata.csv": table},
        "no dataset": {"notes.txt": "a note"},
    }
    for name, files in cards.items():
        found.append(Attack(KIND, f"huggingface {name}", partial(loose, files), ends=(1, 2)))
    return found
