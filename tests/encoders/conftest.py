"""Small random checkpoints as transformers saves them, to stand for those that people use."""

import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    GPT2Config,
    GPT2Model,
    PreTrainedTokenizerFast,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
    T5Config,
    T5ForConditionalGeneration,
)

WORDS = ["a", "dog", "runs", "over", "the", "green", "grass"]
WIDTHS = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


def words_tokenizer(special, template, **named):
    """A tokenizer of whole words, after the special tokens, that are put around a caption as the template says."""
    vocabulary = {word: i for i, word in enumerate([*special, *WORDS])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token=special[0]))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single=template, special_tokens=[(token, vocabulary[token]) for token in special]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token=special[0], **named)


def saved(path, tokenizer, model, config, processor=None):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    if processor is not None:
        processor.save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory):
    """A CLIP for photos of 16 x 16, cut out of the middle after the shorter side has become 20."""
    tokenizer = words_tokenizer(
        ["<unk>", "<s>", "</s>"], "<s> $A </s>", bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )
    text = {**WIDTHS, "vocab_size": 10, "max_position_embeddings": 12, "bos_token_id": 1, "eos_token_id": 2}
    config = CLIPConfig(
        text_config={**text, "pad_token_id": 2},
        vision_config={**WIDTHS, "image_size": 16, "patch_size": 8},
        projection_dim=8,
    )
    processor = CLIPImageProcessor(size={"shortest_edge": 20}, crop_size={"height": 16, "width": 16})
    return saved(tmp_path_factory.mktemp("clip"), tokenizer, CLIPModel, config, processor)


@pytest.fixture(scope="session")
def siglip_folder(tmp_path_factory):
    """A SigLIP for photos squashed to 16 x 16, and captions padded to 12 tokens."""
    tokenizer = words_tokenizer(
        ["<unk>", "</s>"], "$A </s>", eos_token="</s>", pad_token="</s>", model_input_names=["input_ids"]
    )
    text = {**WIDTHS, "vocab_size": 9, "max_position_embeddings": 12, "bos_token_id": 0, "eos_token_id": 1}
    config = SiglipConfig(
        text_config={**text, "pad_token_id": 1}, vision_config={**WIDTHS, "image_size": 16, "patch_size": 8}
    )
    processor = SiglipImageProcessor(size={"height": 16, "width": 16})
    return saved(tmp_path_factory.mktemp("siglip"), tokenizer, SiglipModel, config, processor)


@pytest.fixture(scope="session")
def gpt2_folder(tmp_path_factory):
    """A GPT-2: no token for padding, none around a caption."""
    tokenizer = words_tokenizer(["<|endoftext|>"], "$A", eos_token="<|endoftext|>")
    config = GPT2Config(vocab_size=8, n_positions=16, n_embd=16, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0)
    return saved(tmp_path_factory.mktemp("gpt2"), tokenizer, GPT2Model, config)


@pytest.fixture(scope="session")
def t5_folder(tmp_path_factory):
    """A T5 with its decoder."""
    tokenizer = words_tokenizer(["<pad>", "</s>"], "$A </s>", eos_token="</s>", pad_token="<pad>")
    config = T5Config(vocab_size=9, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, decoder_start_token_id=0)
    return saved(tmp_path_factory.mktemp("t5"), tokenizer, T5ForConditionalGeneration, config)


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """A wide, a high and a square photo."""
    folder, paths = tmp_path_factory.mktemp("photos"), []
    for number, size in enumerate([(60, 33), (24, 50), (40, 40)]):
        pixels = torch.randint(256, (size[1], size[0], 3), generator=torch.Generator().manual_seed(number))
        paths.append(folder / f"{number}.png")
        Image.fromarray(pixels.to(torch.uint8).numpy()).save(paths[-1])
    return paths
