"""Nothing that is read can run code, and nothing but the log's times comes from a clock that can jump."""

import ast
import io
import json
import os
import pickle
from pathlib import Path

import pytest
import torch
import yaml

import pairstill
from pairstill.cli import main
from pairstill.config import ImageConfig, TextConfig, yaml_files
from pairstill.core.errors import ArtifactError, ConfigError
from pairstill.encoders.image import build_image_encoder
from pairstill.encoders.text import build_text_encoder
from pairstill.storage import load_tensors

SOURCES = sorted(Path(pairstill.__file__).parent.rglob("*.py"))
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
CALLS = {
    *("torch.load", "torch.save", "torch.hub.load", "np.load", "numpy.load", "pandas.read_pickle"),
    *("yaml.load", "yaml.load_all", "yaml.full_load", "yaml.unsafe_load", "yaml.unsafe_load_all"),
    *("eval", "exec", "compile", "os.system", "os.popen", "__import__"),
}
KEYWORDS = {"trust_remote_code", "allow_pickle", "shell"}


def name_of(node):
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def findings(text):
    """Everything in a module that could run what it reads."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            yield from (name for name in names if name.split(".")[0] in MODULES)
        if isinstance(node, ast.Call):
            given = {k.arg: k.value.value if isinstance(k.value, ast.Constant) else k.value for k in node.keywords}
            if name_of(node.func) in CALLS and given.get("allow_pickle") is not False:
                yield name_of(node.func)
            yield from (keyword for keyword, value in given.items() if keyword in KEYWORDS and value is not False)


def test_the_search_finds_what_it_looks_for():
    text = "import pickle\nfrom joblib import load\ntorch.load(p)\nyaml.load(s)\nf(allow_pickle=True)\nmodel.eval()"
    assert list(findings(text)) == ["pickle", "joblib", "torch.load", "yaml.load", "allow_pickle"]
    assert list(findings("np.load(p)\nnp.load(p, allow_pickle=False)\nnp.load(p, allow_pickle=x)")) == [
        *("np.load", "np.load", "allow_pickle")
    ]


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_no_module_reads_pickles_or_runs_what_it_reads(source):
    # the one loader that is named by hand is the safe one; tags in settings have tests below
    allowed = ["yaml.load"] if source.name == "yaml_files.py" else []
    assert list(findings(source.read_text(encoding="utf-8"))) == allowed


def test_the_loader_of_settings_is_a_safe_one():
    assert issubclass(yaml_files._LOADER, yaml.SafeLoader | yaml.CSafeLoader)


def test_no_duration_comes_from_the_wall_clock():
    found = {
        source.name
        for source in SOURCES
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and name_of(node) == "time.time"
    }
    assert found == {"log.py"}, "the log says when an event was; durations come from time.perf_counter"


class Evil:
    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


def malicious(trace, how):
    if how == "pickle":
        return pickle.dumps(Evil(trace))
    buffer = io.BytesIO()
    torch.save({"weight": Evil(trace)}, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("how", ["pickle", "torch"])
def test_a_pickle_in_place_of_tensors_is_refused_and_does_not_run(tmp_path, how):
    path, trace = tmp_path / "weights.pt", tmp_path / "trace"
    path.write_bytes(malicious(trace, how))
    with pytest.raises(ConfigError, match=r"weights\.pt.* is not a whole safetensors file"):
        build_image_encoder(ImageConfig(weights=str(path)))
    with pytest.raises(ArtifactError, match=r"weights\.pt is damaged"):
        load_tensors(path)
    assert not trace.exists()
    pickle.loads(malicious(trace, "pickle"))
    assert trace.exists(), "it would have, had it been read as a pickle"


def test_a_text_tower_with_pickled_weights_is_refused_and_does_not_run(tmp_path):
    folder, trace = tmp_path / "tower", tmp_path / "trace"
    folder.mkdir()
    bert = {"model_type": "bert", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "vocab_size": 5}
    (folder / "config.json").write_text(json.dumps(bert))
    (folder / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n")
    (folder / "pytorch_model.bin").write_bytes(malicious(trace, "torch"))
    with pytest.raises(ConfigError, match="transformers cannot load it"):
        build_text_encoder(TextConfig(name=str(folder)))
    assert not trace.exists()


@pytest.mark.parametrize(
    "tag", ["!!python/object/apply:os.mkdir", "!!python/object/new:os.mkdir", "!!python/name:os.mkdir"]
)
def test_yaml_tags_are_refused_and_do_not_run(tmp_path, capsys, tag):
    trace = tmp_path / "trace"
    (tmp_path / "c.yaml").write_text(f"seed: {tag} ['{trace}']\nrun_dir: {tmp_path / 'run'}\n")
    with pytest.raises(SystemExit) as caught:
        main(["prepare", "--config", str(tmp_path / "c.yaml")])
    assert caught.value.code == 2
    assert not trace.exists() and not (tmp_path / "run").exists()


@pytest.mark.parametrize("number", ["9" * 5000, ".nan"])
def test_numbers_that_are_no_rate_are_refused(tmp_path, capsys, number):
    (tmp_path / "c.yaml").write_text(f"teacher:\n  lr_image: {number}\nrun_dir: {tmp_path / 'run'}\n")
    try:
        status = main(["prepare", "--config", str(tmp_path / "c.yaml"), "--data.scenes.train=0"])
    except SystemExit as caught:
        status = caught.code
    assert status == 2
    assert "Traceback" not in capsys.readouterr().err
