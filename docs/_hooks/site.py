"""What the site needs beyond its plugins: formulas without scripts or a network, and pages that nobody listed."""

import re
from html import unescape
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert

FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


def on_config(config: Any) -> Any:
    """List the pages that the navigation leaves out under "More"."""
    root = Path(config["docs_dir"])
    listed = set(re.findall(r"[\w/.-]+\.md", str(config["nav"])))
    others = [path.relative_to(root).as_posix() for path in sorted(root.rglob("*.md"))]
    more = [name for name in others if name not in listed]
    if more:
        config["nav"].append({"More": more})
    return config


def on_page_content(html: str, **_: Any) -> str:
    """Write formulas as MathML, which browsers show by themselves."""

    def formula(match: re.Match[str]) -> str:
        return convert(unescape(match[2]).strip(), display="block" if match[1] == "div" else "inline")

    return FORMULA.sub(formula, html)
