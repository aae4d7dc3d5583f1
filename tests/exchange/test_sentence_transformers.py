from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from pairstill.config import HeadsConfig, TextConfig
from pairstill.core.errors import ConfigError
from pairstill.encoders.text import build_text_encoder
from pairstill.exchange.sentence_transformers import save_text_side
from pairstill.exchange.student import Student

CAPTIONS = ["a dog runs", "dog", "a dog runs over the green grass and on and on"]
LINEAR = HeadsConfig(kind="linear", image=True, width=5)


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    """A small random BERT whose tokenizer knows a few words."""
    path = tmp_path_factory.mktemp("bert")
    words = {word: i for i, word in enumerate(["[UNK]", "[PAD]", "[CLS]", "[SEP]", "a", "dog", "runs", "over", "the"])}
    tokenizer = Tokenizer(WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    named = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named).save_pretrained(path)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        BertModel(BertConfig(vocab_size=len(words), max_position_embeddings=32, **sizes)).save_pretrained(path)
    return path


@pytest.fixture
def student(bert):
    """Return a student with that text tower, whose image side nobody asks for, and the tower's settings."""

    def make(pooling):
        text = TextConfig(name=str(bert), pooling=pooling, max_tokens=9)
        draw = torch.Generator().manual_seed(1)
        parameters = {
            "text_head.project.weight": torch.randn(5, 8, generator=draw),
            "text_head.project.bias": torch.randn(5, generator=draw),
        }
        return Student(None, build_text_encoder(text), None, parameters, None, "as_they_are", {}), text

    return make


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.filterwarnings("ignore")  # the library's own, of its old names of modules, which every version reads
def test_sentence_transformers_embeds_captions_as_the_student_does(student, tmp_path, pooling):
    library = pytest.importorskip("sentence_transformers", reason="it comes with an extra")
    made, text = student(pooling)
    save_text_side(made, text, LINEAR, tmp_path / "out")
    head = made.parameters
    expected = made.text.encode(CAPTIONS) @ head["text_head.project.weight"].T + head["text_head.project.bias"]
    found = library.SentenceTransformer(str(tmp_path / "out"), device="cpu").encode(CAPTIONS, convert_to_tensor=True)
    assert torch.allclose(found, F.normalize(expected, dim=1), atol=1e-5)


def test_the_readme_says_what_is_left_to_do_and_not_where_the_tower_lay(student, bert, tmp_path):
    made, text = student("mean")
    save_text_side(replace(made, captions="plain"), text, LINEAR, tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "in lower case without any punctuation" in card and "image side, which is not here" in card
    assert bert.name in card and str(bert) not in card
    with pytest.raises(ConfigError, match="exists already"):
        save_text_side(made, text, LINEAR, tmp_path / "out")


def test_what_has_no_modules_is_refused(student, tmp_path):
    made, text = student("mean")
    with pytest.raises(ConfigError, match=r"heads\.kind is residual, which is no chain .*--format pairstill"):
        save_text_side(made, text, HeadsConfig(kind="residual"), tmp_path / "out")
    ngrams = TextConfig(name="hashed_ngrams", width=8)
    with pytest.raises(ConfigError, match="hashed_ngrams.*sentence-transformers has no modules"):
        save_text_side(replace(made, text=build_text_encoder(ngrams)), ngrams, LINEAR, tmp_path / "out")
    assert not Path(tmp_path / "out").exists()
