"""Weights, settings and tokenizers of towers that are damaged, cut, or of another tower."""

import json
import shutil
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from attacks.attack import BYTES, PLACES, Attack, Base, Step, damage
from attacks.processes import settings_of

KIND = "weights"
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "red", "circle"]
LAYER = "encoder.layer.0.output.dense.weight"
State = dict[str, torch.Tensor]


def weights(base: Base) -> list[Attack]:
    """Return the attacks by towers."""
    return [*_image(), *_text_files(), *_text_parts()]


def _image() -> list[Attack]:
    def steps(change: Callable[[State], Any], folder: Path) -> list[Step]:
        state = dict(timm.create_model("nf_resnet_tiny", num_classes=0).state_dict())
        change(state)
        save_file(state, folder / "user" / "w.safetensors")
        return _prepare(folder, f"--image.weights={folder}/user/w.safetensors")

    def damaged(how: str | bytes, folder: Path) -> list[Step]:
        path = folder / "user" / "w.safetensors"
        save_file(timm.create_model("nf_resnet_tiny", num_classes=0).state_dict(), path)
        if isinstance(how, bytes):
            path.write_bytes(how)
        else:
            damage(path, how, folder / "outside")
        return _prepare(folder, f"--image.weights={path}")

    def options(given: tuple[str, ...], folder: Path) -> list[Step]:
        return _prepare(folder, *given)

    first = "stem.conv.weight"
    changes: dict[str, Callable[[State], Any]] = {
        "one missing": lambda s: s.pop(first),
        "all missing": lambda s: s.clear(),
        "one left over": lambda s: s.update(more=torch.ones(2)),
        "another shape": lambda s: s.update({first: torch.ones(3)}),
        "a scalar": lambda s: s.update({first: torch.tensor(1.0)}),
        "integers": lambda s: s.update({first: s[first].to(torch.int32)}),
        "complex": lambda s: s.update({first: s[first].to(torch.complex64)}),
        "NaN": lambda s: s[first].fill_(torch.nan),
        "infinity": lambda s: s[first].view(-1)[:1].fill_(torch.inf),
        "too large": lambda s: s[first].fill_(1e38),
    }
    found = [Attack(KIND, f"image {name}", partial(steps, change), ends=(1, 2)) for name, change in changes.items()]
    for how in [*BYTES, *PLACES]:
        unsure = how.startswith("flipped")  # the file has no checksum
        found.append(Attack(KIND, f"image {how}", partial(damaged, how), ends=None if unsure else (1, 2)))
    header = b'{"a":{"dtype":"F32","shape":[99999999999],"data_offsets":[0,399999999996]}}'
    forged = {
        "a header of 2^60 bytes": struct.pack("<Q", 2**60) + b"{}",
        "a tensor beyond the file": struct.pack("<Q", len(header)) + header,
        "a header that is no text": struct.pack("<Q", 4) + b"\xff\xff\xff\xff",
        "a nested header": struct.pack("<Q", 100_000) + b"[" * 100_000,
    }
    found += [Attack(KIND, f"image {name}", partial(damaged, made), ends=(1, 2)) for name, made in forged.items()]
    given = {
        "an unknown name": "--image.name=no_such",
        "an empty name": "--image.name=",
        "a hub name": "--image.name=hf-hub:no/such",
        "a local folder": "--image.name=local-dir:/tmp",
        "a name with NUL": "--image.name=a\0b",
        "a name with escapes": "--image.name=\x1b[2J",
        "a path with NUL": "--image.weights=a\0b",
        "an empty path": "--image.weights=",
        "pretrained that are not": "--image.pretrained=true",
        "less than a patch": "--image.name=vit_tiny_patch16_224",
        "deviation 0": "--image.std=[0,0,0]",
        "deviation NaN": "--image.std=[.nan,1,1]",
        "deviation below 0": "--image.std=[-1,1,1]",
        "mean infinite": "--image.mean=[.inf,0,0]",
        "a size of 2^40": "--image.size=1099511627776",
        "a size of 10^5": "--image.size=100000",
        "a size of 1": "--image.size=1",
    }
    for name, option in given.items():
        made = partial(options, (option, "--image.size=8") if "patch" in name else (option,))
        found.append(Attack(KIND, f"image {name}", made, ends=None if name == "a size of 1" else (1, 2)))
    return found


def write_encoder(folder: Path) -> None:
    """Write a tiny BERT whose vocabulary is a few words."""
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    names = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    sizes = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=len(WORDS), max_position_embeddings=80, **sizes)).save_pretrained(folder)


def _prepare(folder: Path, *options: str) -> list[Step]:
    return [["prepare", *settings_of(folder / "work"), *options]]


def _text(change: Callable[[Path], Any], folder: Path) -> list[Step]:
    write_encoder(folder / "user")
    change(folder / "user")
    return _prepare(folder, f"--text.name={folder}/user")


def _text_files() -> list[Attack]:
    found = []
    for name in ("model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"):
        for how in [*BYTES, *PLACES]:
            # without a file of its own the tokenizer has its defaults
            absent = how in ("removed", "{}", *PLACES) and name == "tokenizer_config.json"
            unsure = how.startswith("flipped") or (absent and how != "a link to a secret")
            unsure |= how == "cut by one" and name.endswith("json")  # which is a line's end

            def change(user: Path, name: str = name, how: str = how) -> None:
                damage(user / name, how, user.parent / "outside")

            ends = None if unsure else (1, 2)
            found.append(Attack(KIND, f"text {name} {how}", partial(_text, change), ends=ends))
    return found


def _text_parts() -> list[Attack]:
    def state(change: Callable[[State], Any], user: Path) -> None:
        found = load_file(user / "model.safetensors")
        change(found)
        save_file(found, user / "model.safetensors", {"format": "pt"})

    def settings(user: Path, **values: Any) -> None:
        path = user / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    def tokens(change: Callable[[dict[str, Any]], Any], user: Path) -> None:
        path = user / "tokenizer.json"
        found = json.loads(path.read_text())
        change(found)
        path.write_text(json.dumps(found))

    changes: dict[str, Callable[[State], Any]] = {
        "one missing": lambda s: s.pop(LAYER),
        "a norm missing": lambda s: s.pop("embeddings.LayerNorm.weight"),
        "all missing": lambda s: s.clear(),
        "one left over": lambda s: s.update(more=torch.ones(2)),
        "another shape": lambda s: s.update({LAYER: torch.ones(3, 3)}),
        "NaN": lambda s: s[LAYER].fill_(torch.nan),
        "too large": lambda s: s[LAYER].fill_(1e38),
    }
    refused = (1, 2)
    found = [
        Attack(KIND, f"text {name}", partial(_text, partial(state, change)), ends=refused)
        for name, change in changes.items()
    ]
    described: dict[str, Any] = {
        "hidden_size": 16, "num_hidden_layers": 3, "vocab_size": 3, "num_attention_heads": 3, "hidden_act": "magic",
        "model_type": "nothing", "dtype": "float99", "max_position_embeddings": 4, "architectures": "x",
    }  # fmt: skip
    for key, value in described.items():
        for new in (value, None, -1, "x", [], 10**12):
            if key in ("architectures", "dtype") and new in (None, [], "x"):
                continue
            make = partial(_text, partial(settings, **{key: new}))
            found.append(Attack(KIND, f"text {key} is {new!r}", make))
    code = {"auto_map": {"AutoModel": "evil.Evil", "AutoConfig": "evil.Config", "AutoTokenizer": ["evil.T", None]}}

    def scripted(user: Path) -> None:
        settings(user, **code, model_type="evil")
        (user / "evil.py").write_text(f"open({str(user.parent / 'outside' / 'pwned')!r}, 'w')\n")

    def pickled(user: Path) -> None:
        (user / "model.safetensors").unlink()
        torch.save({"a": torch.ones(1)}, user / "pytorch_model.bin")

    edits: dict[str, Callable[[Path], Any]] = {
        "a token beyond the vocabulary": partial(tokens, lambda t: t["model"]["vocab"].update(red=999, circle=10**9)),
        "a special token beyond it": partial(
            tokens, lambda t: t["post_processor"]["special_tokens"]["[CLS]"].update(ids=[999])
        ),
        "code beside it": scripted,
        "weights as a pickle": pickled,
        "only its code": lambda user: [path.unlink() for path in user.iterdir()],
        "no padding": lambda user: shutil.copy(user / "config.json", user / "tokenizer_config.json"),
    }
    found += [
        Attack(KIND, f"text {name}", partial(_text, edit), ends=None if name == "no padding" else refused)
        for name, edit in edits.items()
    ]
    named = ("no/such", "", " ", "a\0b", "\x1b[2J", "../outside", "/dev/zero", "/", "a" * 3000, "minilm/../..")
    for name in named:

        def steps(folder: Path, name: str = name) -> list[Step]:
            return _prepare(folder, f"--text.name={name}")

        found.append(Attack(KIND, f"text name {name[:20]!r}", steps, ends=refused))
    found.append(Attack(KIND, "text max_tokens 1", partial(_text_options, "--text.max_tokens=1"), ends=refused))
    return found


def _text_options(option: str, folder: Path) -> list[Step]:
    write_encoder(folder / "user")
    return _prepare(folder, f"--text.name={folder}/user", option)
