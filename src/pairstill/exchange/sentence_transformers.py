"""The text side of a trained student as a folder that sentence-transformers loads."""

import json
from pathlib import Path

from pairstill.config import HeadsConfig, TextConfig
from pairstill.core.errors import ConfigError
from pairstill.encoders.pretrained_text import load_encoder
from pairstill.encoders.text import SOURCELESS, text_source
from pairstill.exchange.public import public_name
from pairstill.exchange.student import Student
from pairstill.storage import save_tensors, temporary_folder, write_json, write_text_atomic, writing
from pairstill.storage.owned import refuse_used

_POOLINGS = {"mean": "pooling_mode_mean_tokens", "cls": "pooling_mode_cls_token"}
"""Poolings that both know alike, by the name that sentence-transformers has for each."""
_MODULES = (("0", "", "Transformer"), ("1", "1_Pooling", "Pooling"), ("2", "2_Dense", "Dense"),
            ("3", "3_Normalize", "Normalize"))  # fmt: skip
_WRITTEN = {
    "plain": "in lower case without any punctuation, and end after 30 words",
    "paper": 'in lower case without `.!"()*#:;~`, and end after 30 words',
    "as_they_are": "as they are",
}


def save_text_side(student: Student, text: TextConfig, heads: HeadsConfig, out: Path) -> None:
    """Write the text tower and the linear head of a student as Transformer, Pooling, Dense and Normalize.

    The image side has no place there: sentence-transformers has no module for a tower of timm.

    Args:
        student: the student.
        text: settings of its text tower, whose weights are copied.
        heads: settings of its heads.
        out: the folder to make; it must not exist, or be empty.

    Raises:
        ConfigError: `out` holds something already, or sentence-transformers has no modules for this text side.
        StorageError: it cannot be written; nothing of it is left.
    """
    _check(student, text, heads)
    refuse_used(out, "the student")
    weight = student.parameters["text_head.project.weight"].cpu()
    width, width_in = weight.shape
    tokenizer, model = load_encoder(text.name, text_source(text))
    with temporary_folder(out) as beside, writing(out):
        folder = beside / out.name
        for _, path, _ in _MODULES:
            (folder / path).mkdir(parents=True, exist_ok=True)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        kinds = [
            {"idx": int(name), "name": name, "path": path, "type": f"sentence_transformers.models.{kind}"}
            for name, path, kind in _MODULES
        ]
        write_text_atomic(folder / "modules.json", json.dumps(kinds, indent=2))
        write_json(folder / "sentence_bert_config.json", {"max_seq_length": text.max_tokens, "do_lower_case": False})
        pooling = {name: kind == text.pooling for kind, name in _POOLINGS.items()}
        write_json(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": width_in, **pooling})
        identity = "torch.nn.modules.linear.Identity"
        dense = {"in_features": width_in, "out_features": width, "bias": True, "activation_function": identity}
        write_json(folder / "2_Dense" / "config.json", dense)
        bias = student.parameters["text_head.project.bias"].cpu()
        save_tensors(folder / "2_Dense" / "model.safetensors", {"linear.weight": weight, "linear.bias": bias})
        write_text_atomic(folder / "README.md", _card(student, text, width))
        folder.replace(out)


def _check(student: Student, text: TextConfig, heads: HeadsConfig) -> None:
    if text.name in SOURCELESS or student.text.spec.pooling not in _POOLINGS:
        raise ConfigError(
            f"text.name is {text.name!r} with the pooling {student.text.spec.pooling}, for which sentence-transformers "
            f"has no modules; it has for encoders of transformers with text.pooling {' or '.join(_POOLINGS)}"
        )
    if heads.kind != "linear":
        raise ConfigError(
            f"heads.kind is {heads.kind}, which is no chain of sentence-transformers' modules; its Dense is a linear "
            "head: save this student as --format pairstill"
        )


def _card(student: Student, text: TextConfig, width: int) -> str:
    return f"""# The text side of a student of distilled pairs

Text tower {public_name(text.name)} and a linear head: embeddings of width {width}, of unit length. Captions were
written {_WRITTEN[student.captions]} before they were encoded, which sentence-transformers does not do: write them so.
Photos are embedded by the image side, which is not here: `pairstill student` with `--format pairstill` writes both.

```python
from sentence_transformers import SentenceTransformer

embeddings = SentenceTransformer("FOLDER").encode(["a dog in the snow"])
```
"""
