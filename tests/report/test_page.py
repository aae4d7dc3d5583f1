from dataclasses import replace
from html.parser import HTMLParser

import pytest

from pairstill.core.errors import ConfigError
from pairstill.report.page import SECTIONS, refuse_other_file, render


class Reader(HTMLParser):
    """Collects tags, ids and texts, and checks that tags are closed in order."""

    VOID = ("meta", "img", "input", "line", "path", "br")

    def __init__(self, html):
        super().__init__()
        self.tags, self.open, self.text = [], [], ""
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def test_captions_are_text_and_nothing_else(make_page, hostile):
    page = Reader(render(make_page()))
    assert page.open == []
    assert hostile in page.text
    assert len(page.all("script")) == 1
    assert all("onerror" not in attributes for _, attributes in page.tags)


def test_nothing_is_loaded_from_elsewhere(make_page):
    html = render(make_page())
    page = Reader(html)
    assert all(image["src"].startswith("data:image/") for image in page.all("img"))
    assert all(link["href"].startswith("#") for link in page.all("a"))
    assert not page.all("link") and "src" not in page.all("script")[0]
    (policy,) = [meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'") and "script-src 'sha256-" in policy


def test_every_section_has_a_heading_and_every_picture_a_text(make_page):
    page = Reader(render(make_page()))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert [section["id"] for section in page.all("section")] == [name for name, _ in SECTIONS]
    for link in page.all("a"):
        assert link["href"][1:] in ids
    for attributes in page.all("section"):
        assert attributes["aria-labelledby"] in ids
    assert all(image["alt"] for image in page.all("img"))


def test_a_page_of_nothing_says_so_in_every_section(make_page):
    text = Reader(
        render(make_page(charts=[], phases=[], phases_note="No pairs.", retrieval="No student.", facts=[]))
    ).text
    for reason in ("No student is measured yet", "Nothing is logged yet", "No pairs.", "No student."):
        assert reason in text


def test_a_page_takes_the_place_of_a_page_and_of_nothing_else(make_page, tmp_path):
    refuse_other_file(tmp_path / "new.html")
    (tmp_path / "page.html").write_text(render(make_page()))
    refuse_other_file(tmp_path / "page.html")
    (tmp_path / "thesis.html").write_text("<html>")
    for name in ("thesis.html", "."):
        with pytest.raises(ConfigError, match="nothing of yours is written over; name another file"):
            refuse_other_file(tmp_path / name)
    with pytest.raises(ConfigError, match="cannot be read .File name too long"):
        refuse_other_file(tmp_path / ("x" * 300))


def test_controls_do_not_reach_the_page(make_page):
    page = replace(make_page(), title="a\x1b]0;owned\x07 \u202edog\x00 <b>", settings="seed: 1\n\tx: 2\n")
    html = render(page)
    assert not [sign for sign in html if ord(sign) < 32 and sign not in "\n\t"] and "\u202e" not in html
    assert "a␛]0;owned␇ \ufffddog␀ &lt;b&gt;" in html and "seed: 1\n\tx: 2\n" in html
