# SPDX-License-Identifier: Apache-2.0
"""The report in a real browser: plots are drawn, nothing is fetched, both themes are legible."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import model_files
from bench_rows import row_json
from octavo import report
from report_browser import Browser

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytest.importorskip("matplotlib", reason="matplotlib draws the plots")

PLOTS = ("size", "latency", "error", "roofline", "ranges", "saturation")

DRAWN = """
Array.from(document.querySelectorAll('figure svg')).map(svg => {
  const outer = svg.getBoundingClientRect();
  const inside = Array.from(svg.querySelectorAll('path, use, text')).filter(mark => {
    const box = mark.getBoundingClientRect();
    return box.width + box.height > 0 && box.right > outer.left - 1 && box.left < outer.right + 1
      && box.bottom > outer.top - 1 && box.top < outer.bottom + 1;
  });
  const cut = Array.from(svg.querySelectorAll('text')).filter(text => {
    const box = text.getBoundingClientRect();
    return box.left < outer.left - 8 || box.right > outer.right + 8
      || box.top < outer.top - 8 || box.bottom > outer.bottom + 8;
  }).map(text => text.textContent);
  const sizes = Array.from(svg.querySelectorAll('text')).map(text =>
    text.getBoundingClientRect().height);
  return {id: svg.id, width: outer.width, height: outer.height, marks: inside.length,
    texts: svg.querySelectorAll('text').length, smallest: Math.min(...sizes), cut: cut,
    label: svg.getAttribute('aria-label')};
})
"""

CONTRAST = """
(() => {
  const light = text => {
    const rgb = text.match(/[\\d.]+/g).slice(0, 3).map(v => v / 255).map(v =>
      v <= 0.03928 ? v / 12.92 : Math.pow((v + 0.055) / 1.055, 2.4));
    return 0.2126 * rgb[0] + 0.7152 * rgb[1] + 0.0722 * rgb[2];
  };
  const paper = light(getComputedStyle(document.querySelector('figure')).backgroundColor);
  const ratio = colour => {
    const [low, high] = [light(colour), paper].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const texts = Array.from(document.querySelectorAll('svg text')).map(text =>
    ratio(getComputedStyle(text).fill));
  const words = Array.from(document.querySelectorAll('h1, h2, strong, p, b, th, td')).map(word =>
    ratio(getComputedStyle(word).color));
  const marks = Array.from(document.querySelectorAll('svg use')).map(mark =>
    getComputedStyle(mark).stroke).map(ratio);
  return {texts: Math.min(...texts), words: Math.min(...words), marks: Math.min(...marks),
    paper: paper};
})()
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("report")
    folder = model_files.write_random(place / "<b>model & co")
    rows = [
        row_json(case, engine, seconds, nbytes=5000, ops=20_000, limit_seconds=1e-6, share=0.5)
        for case in ("1x768x768", "128x768x768")
        for engine, seconds in (
            ("octavo", 2e-6),
            ("numpy float32", 5e-6),
            ("torch float32", 4e-6),
            ("torch int8 x86", 9e-6),
            ("openvino int8", 3e-5),
        )
    ]
    roof = {"threads": 1, "dot_gops": 100.0, "read_gbs": 10.0}
    document = {"bench": "linear", "rows": rows, "roofline": roof, "machine": {"cpu": "<i>CPU"}}
    (place / "bench.json").write_text(json.dumps(document), encoding="utf-8")
    made = report.write(place / "page.html", model=folder, bench=[place / "bench.json"])
    assert made["bytes"] <= report.MAX_BYTES
    return place / "page.html"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    made = Browser(tmp_path_factory.mktemp("profile"))
    yield made
    made.close()


@pytest.mark.parametrize("width", [1440, 400])
def test_every_plot_is_drawn_and_readable(browser: Browser, page: Path, width: int) -> None:
    browser.open(page, width=width)
    drawn = {plot["id"]: plot for plot in browser.evaluate(DRAWN)}
    assert set(drawn) == set(PLOTS)
    for name, plot in drawn.items():
        assert plot["width"] > 250, name
        assert plot["height"] > 150, name
        assert plot["marks"] > 20, name
        assert plot["texts"] >= 6, name
        assert plot["cut"] == [], name
        assert plot["smallest"] > 7, name
        assert ": " in plot["label"], name
    assert browser.evaluate("document.documentElement.scrollWidth") <= width


def test_nothing_is_fetched(browser: Browser, page: Path) -> None:
    browser.requests.clear()
    browser.complaints.clear()
    browser.open(page)
    browser.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert browser.requests == [page.absolute().as_uri()]
    assert browser.complaints == []
    assert browser.evaluate("performance.getEntriesByType('resource').length") == 0


def test_the_page_forbids_fetching(browser: Browser, page: Path, tmp_path: Path) -> None:
    changed = tmp_path / "changed.html"
    text = page.read_text(encoding="utf-8")
    added = '<img src="x.png"><script>document.title = "ran"</script></main>'
    changed.write_text(text.replace("</main>", added), encoding="utf-8")
    browser.requests.clear()
    browser.complaints.clear()
    browser.open(changed)
    assert browser.evaluate("document.title") != "ran"
    assert browser.evaluate("document.querySelector('img').naturalWidth") == 0
    assert any("Content Security Policy" in complaint for complaint in browser.complaints)


@pytest.mark.parametrize("dark", [False, True])
def test_both_themes_are_legible(browser: Browser, page: Path, dark: bool) -> None:
    browser.open(page, dark=dark)
    found = browser.evaluate(CONTRAST)
    assert (found["paper"] < 0.2) is dark
    # WCAG 2.1: 4.5 for text, 3 for the parts of a picture that carry meaning.
    assert found["texts"] >= 4.5
    assert found["words"] >= 4.5
    assert found["marks"] >= 3


def test_names_are_text_and_never_markup(browser: Browser, page: Path) -> None:
    browser.open(page)
    assert browser.evaluate("document.querySelector('h1').textContent").endswith("<b>model & co")
    assert browser.evaluate("document.querySelector('h1 b, header i')") is None
    assert browser.evaluate("document.querySelector('header p').textContent") == "<i>CPU"


def test_pixels(browser: Browser, page: Path) -> None:
    image: Any = pytest.importorskip("PIL.Image", reason="Pillow reads the picture")
    browser.open(page)
    pixels = np.asarray(image.open(io.BytesIO(browser.screenshot())).convert("RGB"))
    blue = (np.abs(pixels.astype(int) - (0x0B, 0x66, 0xC3)).sum(axis=2) < 30).sum()
    assert pixels.shape == (960, 1440, 3)
    assert blue > 1000  # bars, marks and large figures in octavo's colour
