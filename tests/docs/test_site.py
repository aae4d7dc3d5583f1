"""Formulas and unlisted pages, as the site's hook treats them."""

import importlib.util
from pathlib import Path

import pytest

pytest.importorskip("latex2mathml")
HOOK = Path(__file__).parents[2] / "docs" / "_hooks" / "site.py"


@pytest.fixture
def hook():
    spec = importlib.util.spec_from_file_location("site_hook", HOOK)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_formulas_become_mathml(hook):
    html = '<p>if <span class="arithmatex">\\(a &lt; b\\)</span>:</p><div class="arithmatex">\\[\nx^2\n\\]</div>'
    shown = hook.on_page_content(html)
    assert shown.count("<math") == 2 and 'display="block"' in shown and "arithmatex" not in shown
    assert "<mi>a</mi><mo>&#x0003C;</mo><mi>b</mi>" in shown and "<msup>" in shown


def test_pages_that_nobody_listed_are_added(hook, tmp_path):
    for name in ("index.md", "new.md", "reference/known.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    config = {"docs_dir": str(tmp_path), "nav": [{"Start": "index.md"}, {"Reference": [{"K": "reference/known.md"}]}]}
    assert hook.on_config(config)["nav"][-1] == {"More": ["new.md"]}
