"""Measure how fast the page of 1,000 pairs opens: `python benchmarks/report/measure.py`, which prints one JSON object.

The pairs are random low-frequency images with noise on them, which compress about as badly as distilled photos do. The
page is opened from a file in Chromium without a window, several times, each in a fresh context. Times on the clock grow
with what else the machine does (see the load), CPU times do not.
"""

import argparse
import json
import os
import shutil
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from playwright.sync_api import sync_playwright

from pairstill.distilled import DistilledPhase
from pairstill.report.gallery import Near, Real, phase_view, picture_side
from pairstill.report.page import Page, render

ENCODER = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
MOMENTS = """() => {
  const [entry] = performance.getEntriesByType("navigation");
  const paint = performance.getEntriesByName("first-contentful-paint")[0];
  return {parsed: entry.domInteractive, loaded: entry.loadEventEnd, first_paint: paint ? paint.startTime : null};
}"""


def make_page(pairs: int, size: int) -> Page:
    """Return a page of one phase of this many pairs, with images of this size."""
    generator = torch.Generator().manual_seed(0)
    rough = torch.rand(pairs, 3, 10, 10, generator=generator)
    start = F.interpolate(rough, size=(size, size), mode="bicubic").clamp(0, 1)
    images = (start - 0.5) / 0.25 + 0.3 * torch.randn(pairs, 3, size, size, generator=generator)
    texts = torch.randn(pairs, 384, generator=generator)
    captions = tuple(f"a photo of something that has the number {index} and looks like it" for index in range(pairs))
    factors = {"matrix": torch.eye(pairs) + 0.02 * torch.randn(pairs, pairs, generator=generator)}
    phase = DistilledPhase(
        images=images,
        text_embeddings=texts,
        similarity_factors=factors,
        inner_lr_image=0.1,
        inner_lr_text=0.1,
        captions=captions,
        sources=captions,
    )
    near = [[Near(caption, 0.5)] * 3 for caption in captions]
    view = phase_view(1, phase, ENCODER, Real(near, start, texts), picture_side(pairs))
    return Page(
        title="Many pairs",
        state="",
        facts=(),
        rows=(),
        rows_note="",
        protocol="",
        charts=(),
        phases=[view],
        phases_note="",
        rates_note="Not measured.",
        retrieval=(),
        times=(),
        provenance=(),
        changed_settings="",
        settings="",
    )


def measure(pairs: int, size: int, repeats: int) -> dict[str, Any]:
    """Return seconds until the page is parsed, painted, loaded and scrolled to its end, medians over the repeats."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as started:
        path = Path(folder) / "report.html"
        began = time.perf_counter()
        path.write_text(render(make_page(pairs, size)), encoding="utf-8")
        making = time.perf_counter() - began
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        found: list[dict[str, float]] = []
        for _ in range(repeats):
            page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
            session = page.context.new_cdp_session(page)
            session.send("Performance.enable", {"timeDomain": "threadTicks"})
            page.goto(path.as_uri())
            metrics = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
            page.wait_for_timeout(300)  # the paint's entry comes after the frame
            moments = {name: value / 1000 for name, value in page.evaluate(MOMENTS).items()}
            began = time.perf_counter()
            page.evaluate("() => new Promise(done => { scrollTo(0, 1e9); requestAnimationFrame(() => done()); })")
            found.append(
                {
                    **moments,
                    "scrolled_to_the_end": time.perf_counter() - began,
                    "cpu_of_main_thread": metrics["ThreadTime"],
                    "cpu_of_renderer": metrics["ProcessTime"],
                }
            )
            page.context.close()
        version = browser.version
        browser.close()
        return {
            "pairs": pairs,
            "image_size": size,
            "page_bytes": path.stat().st_size,
            "seconds_to_make": round(making, 1),
            "seconds": {name: round(median(one[name] for one in found), 3) for name in found[0]},
            "repeats": repeats,
            "chromium": version,
            "load_average": round(os.getloadavg()[0], 1),
        }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--repeats", type=int, default=5)
    print(json.dumps(measure(**vars(parser.parse_args())), indent=2))
