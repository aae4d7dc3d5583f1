"""The page in a real browser, without a window; skipped where there is none."""

import shutil

import pytest

from pairstill.report.page import render

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (the extra dev)")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian: apt-get install chromium)")
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


class Opened:
    """A page in the browser, and all that it said and asked for."""

    def __init__(self, browser, path, **options):
        self.said, self.asked = [], []
        self.page = browser.new_context(**options).new_page()
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri())

    def ground(self):
        """The computed background, as three numbers."""
        colour = self.page.evaluate("getComputedStyle(document.body).backgroundColor")
        return [int(part) for part in colour[colour.index("(") + 1 : -1].split(",")]

    def focused(self, question="id"):
        return self.page.evaluate(f"document.activeElement.{question}")


@pytest.fixture
def opened(browser, make_page, tmp_path):
    def open_page(page=None, **options):
        path = tmp_path / "report.html"
        path.write_text(render(page or make_page()), encoding="utf-8")
        return Opened(browser, path, **options)

    return open_page


def test_it_runs_without_errors_requests_or_foreign_scripts(opened, hostile):
    found = opened()
    found.page.mouse.wheel(0, 20000)
    found.page.wait_for_timeout(100)
    assert found.said == []
    assert [url for url in found.asked if not url.startswith(("file:", "data:"))] == []
    assert sum(url.startswith("file:") for url in found.asked) == 1, "the page itself and nothing else"
    assert found.page.evaluate("window.hacked") is None
    assert hostile in found.page.text_content("#pair-1-0")


@pytest.mark.parametrize(("scheme", "dark"), [("light", False), ("dark", True)])
def test_the_theme_is_the_systems_until_it_is_chosen(opened, scheme, dark):
    found = opened(color_scheme=scheme)
    assert (max(found.ground()) < 60) is dark and (min(found.ground()) > 200) is not dark
    ink = found.page.evaluate("getComputedStyle(document.body).color")
    assert (int(ink[4:].split(",")[0]) > 200) is dark
    found.page.click("#theme")
    assert (max(found.ground()) < 60) is not dark
    assert found.page.get_attribute("#theme", "aria-pressed") == str(not dark).lower()
    found.page.reload()
    assert (max(found.ground()) < 60) is not dark, "the choice is remembered"


def test_paper_is_white_whatever_the_theme(opened):
    found = opened(color_scheme="dark")
    found.page.emulate_media(media="print")
    assert found.ground() == [255, 255, 255]
    assert not found.page.is_visible("nav") and not found.page.is_visible("#theme")
    assert found.page.pdf().startswith(b"%PDF")


def test_the_keyboard_reaches_everything(opened):
    found = opened()
    found.page.keyboard.press("Tab")
    assert found.focused("className") == "skip"
    found.page.keyboard.press("Enter")
    assert found.page.evaluate("location.hash") == "#main"
    found.page.keyboard.press("Tab")
    outline = found.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none", "what has the focus shows it"


def test_a_closer_look_opens_turns_and_closes_by_keyboard(opened, hostile):
    found = opened()
    found.page.focus("#pair-1-3 .strip")
    found.page.keyboard.press("Enter")
    assert found.page.is_visible("#closer") and found.page.inner_text("#closer-title") == "Pair 3 of phase 1"
    assert found.page.locator("#closer-strip img").count() == 3
    found.page.keyboard.press("ArrowRight")
    assert found.page.inner_text("#closer-title") == "Pair 0 of phase 2"
    assert hostile in found.page.inner_text("#closer-words")
    found.page.keyboard.press("ArrowLeft")
    found.page.keyboard.press("ArrowLeft")
    assert found.page.inner_text("#closer-title") == "Pair 2 of phase 1"
    found.page.keyboard.press("Escape")
    assert not found.page.is_visible("#closer")
    # browsers tell of the closing a moment after it, and only then the page puts the focus back
    found.page.wait_for_function("document.activeElement.parentElement.id === 'pair-1-2'", timeout=5000)
    assert found.focused("parentElement.id") == "pair-1-2"
    assert found.said == [] and found.page.evaluate("window.hacked") is None


def test_the_filter_shows_pairs_by_their_words(opened):
    found = opened()
    found.page.fill("#filter", "NUMBER 2")
    assert found.page.locator(".card:visible").count() == 2
    assert found.page.inner_text("#found") == "2 of 8 pairs"
    found.page.fill("#filter", "")
    assert found.page.locator(".card:visible").count() == 8 and found.page.inner_text("#found") == ""


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_sticks_out_of_the_window(opened, width):
    found = opened(viewport={"width": width, "height": 800})
    assert found.page.evaluate("document.documentElement.scrollWidth") == width


def test_without_scripts_everything_can_be_read(opened):
    found = opened(java_script_enabled=False)
    assert found.page.locator(".card").count() == 8
    assert not found.page.is_visible("#theme"), "a button that does nothing is not shown"


def test_a_thousand_pairs_load(opened, make_page):
    page = make_page()
    (first, second) = page.phases
    many = type(first)(**{**vars(first), "cards": list(first.cards) * 249 + list(second.cards)})
    found = opened(make_page(phases=[many]))
    assert found.page.locator(".card").count() == 1000 and found.said == []
