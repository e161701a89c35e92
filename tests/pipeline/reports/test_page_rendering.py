"""The report as a person sees it: opened in a real browser, on a desk and on a phone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import longreel
from tests.support.browser import Browser, browsing, find_browser
from tests.support.finished_workspace import ROWS, write_finished_workspace
from tests.support.training.written_runs import falling_losses, write_run

WIDTHS = (1280, 390, 320)
_SHOWN = "(e => { const r = e.getBoundingClientRect(); return r.width > 0 && r.height > 0 })"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report on a workspace with kept, rejected and duplicate videos and books, far from its workspace."""
    workspace = write_finished_workspace(tmp_path_factory.mktemp("report") / "out")
    path = tmp_path_factory.mktemp("page") / "page.html"
    assert longreel.main(["report", str(workspace.root), "--out", str(path)]) == 0
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsing() as browser:
        yield browser


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_opens_without_errors_loads_nothing_and_fits_the_viewport(
    browser: Browser, page: Path, width: int, dark: bool
) -> None:
    browser.open(page, width=width, dark=dark)
    assert browser.errors == []
    assert [url for url in browser.requests if not url.startswith("data:image/webp")] == [page.resolve().as_uri()]
    assert browser.evaluate("innerWidth") == width
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    wide = f"[...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > {width} + 0.5)"
    assert browser.evaluate(f"{wide}.map(e => e.outerHTML.slice(0, 80))") == []
    assert _contrast(browser) >= 4.5


def test_without_a_browser_the_tests_skip_locally_and_fail_in_ci(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="apt-get install chromium"):
        find_browser()
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="CI must look at the page"):
        find_browser()


def test_the_harness_detects_errors_requests_and_overflow(browser: Browser, tmp_path: Path) -> None:
    bad = tmp_path / "bad.html"
    bad.write_text("<!doctype html><script>nothing.there()</script><img src=none.png><div style='width:900px'>x</div>")
    browser.open(bad, width=390)
    assert any("nothing is not defined" in told for told in browser.errors)
    assert any(url.endswith("none.png") for url in browser.requests)
    assert browser.evaluate("document.documentElement.scrollWidth") > 390


@pytest.mark.parametrize("width", WIDTHS[:2])
def test_the_funnel_shows_balanced_counts_and_its_links_have_targets(browser: Browser, page: Path, width: int) -> None:
    browser.open(page, width=width)
    texts = browser.evaluate("[...document.querySelectorAll('.funnel > li')].map(e => e.innerText)")
    said = [" ".join(text.split()) for text in texts]
    assert said == [
        "survey 9 of 11 kept, 2 rejected. missing 1 unreadable 1",
        "select 4 of 9 kept, 5 rejected. near duplicate 2 black 1 duplicate 1 too short 1",
        "tokenize 3 of 4 kept, 1 rejected. changed 1",
        "pack 64 3 of 3 kept.",
    ]
    bars = "[...document.querySelectorAll('.funnel .bar')].map(e => [...e.children].map(c => c.offsetWidth))"
    on, aside = browser.evaluate(bars)[0]
    assert on / (on + aside) == pytest.approx(9 / 11, abs=0.01)
    broken = (
        "[...document.querySelectorAll('a')].map(a => a.getAttribute('href')).filter(h => !document.querySelector(h))"
    )
    assert browser.evaluate(broken) == []


def test_every_thumbnail_is_decoded_described_and_in_its_section(browser: Browser, page: Path) -> None:
    browser.open(page, width=1280)
    found: list[dict[str, Any]] = browser.evaluate(
        "[...document.images].map(i => ({width: i.naturalWidth, shown: i.offsetWidth, alt: i.alt,"
        " section: i.closest('section').id, group: i.closest('ul').className}))"
    )
    assert all(picture["width"] == 200 and picture["shown"] > 100 for picture in found)
    assert all(picture["alt"].startswith("Frames of ") for picture in found)
    by_section: dict[str, list[str]] = {}
    for picture in found:
        by_section.setdefault(picture["section"], []).append(picture["alt"].removeprefix("Frames of "))
    assert {name: sorted(names) for name, names in by_section.items()} == {
        "kept": ["A <b>clip</b>", "film.mp4"],
        "reason-black": ["dark.mp4"],
        "reason-changed": ["lost.mp4"],
        "reason-too_short": ["script>.mp4"],
        "duplicates": ["A <b>clip</b>", "copy.mp4", "film.mp4", "small.mp4"],
    }


def test_duplicates_are_shown_next_to_the_kept_item(browser: Browser, page: Path) -> None:
    browser.open(page, width=1280)
    rows = browser.evaluate(
        "[...document.querySelectorAll('.group')].map(g => [...g.querySelectorAll('.card')]"
        ".map(c => [c.querySelector('.name').innerText, c.getBoundingClientRect().top]))"
    )
    names = sorted([name for name, _ in group] for group in rows)
    assert names == [["A <b>clip</b>", "small.mp4"], ["A novel", "edition.txt"], ["film.mp4", "copy.mp4"]]
    assert all(len({top for _, top in group}) == 1 for group in rows)


def test_histograms_show_their_limits(browser: Browser, page: Path) -> None:
    browser.open(page, width=390)
    found = browser.evaluate(
        "Object.fromEntries([...document.querySelectorAll('figure.histogram')].map(f => [f.id.slice(8), {"
        " width: f.querySelector('svg').getBoundingClientRect().width,"
        " shown: f.checkVisibility(), bars: f.querySelectorAll('rect').length,"
        " outside: f.querySelectorAll('rect.outside').length,"
        " bounds: [...f.querySelectorAll('text.bound')].map(t => t.textContent),"
        " label: f.querySelector('svg').getAttribute('aria-label') }]))"
    )
    assert set(found) == {"duration_s", "short_side", "brightness", "sharpness", "characters", "words"}
    assert all(picture["width"] > 300 for picture in found.values())
    limited = {"duration_s", "short_side", "brightness", "words"}
    assert {name for name, picture in found.items() if picture["shown"]} == limited
    assert found["brightness"]["bounds"] == ["min 8"]
    assert found["brightness"]["outside"] == 1
    assert found["duration_s"]["bounds"] == ["min 1", "max 14,400"]
    assert found["brightness"]["bars"] > 2
    assert found["sharpness"]["bounds"] == []
    assert found["brightness"]["label"] == ("brightness: 7 items from 2 to 130, median 90; 1 below 8 (black)")


def test_the_page_tells_first_what_was_rejected_and_why_then_kept_and_duplicates_then_numbers(
    browser: Browser, page: Path
) -> None:
    browser.open(page, width=390)
    sections = browser.evaluate("[...document.querySelectorAll('main > section')].map(s => s.id)")
    order = ["rejected", "kept", "duplicates", "funnel", "measures", "books", "licenses", "configuration"]
    assert sections == order
    reasons = browser.evaluate("document.querySelector('#rejected .reasons').innerText")
    assert " ".join(reasons.split()).startswith("near duplicate 2 black 1 changed 1 duplicate 1 missing 1 too short 1")
    title = "document.querySelector('#rejected .reasons [title]').title"
    assert browser.evaluate(title) == "near_duplicate"
    totals = browser.evaluate("document.querySelector('.totals').innerText").split("\n")
    assert totals == ["items", "11", "rejected", "8", "kept", "3", "video kept", "1 h 0 min", *totals[8:]]


def test_measures_without_a_limit_are_collapsed_and_plots_have_a_vertical_axis(browser: Browser, page: Path) -> None:
    browser.open(page, width=1280)
    shown = "[...document.querySelectorAll('details figure')].map(f => f.id)"
    assert browser.evaluate(shown) == ["measure-sharpness", "measure-characters"]
    assert browser.evaluate("document.querySelectorAll('details[open]').length") == 0
    numbers = "[...document.querySelectorAll('#measure-brightness text[text-anchor=end]')].map(t => t.textContent)"
    assert browser.evaluate(numbers)[:2] == ["5", "0"]


def test_thumbnails_have_one_height(browser: Browser, page: Path) -> None:
    browser.open(page, width=1280)
    assert len(set(browser.evaluate("[...document.images].map(i => i.offsetHeight)"))) == 1


def test_loss_curves_and_generated_pictures_are_shown(browser: Browser, tmp_path: Path) -> None:
    workspace = write_finished_workspace(tmp_path / "out")
    run, picture = write_run(tmp_path / "run", falling_losses(20)), tmp_path / "picture.png"
    Image.new("RGB", (300, 60), (200, 40, 40)).save(picture)
    path = tmp_path / "page.html"
    command = ["report", str(workspace.root), "--run", str(run), "--picture", str(picture), "--out", str(path)]
    assert longreel.main(command) == 0
    for width in WIDTHS:
        browser.open(path, width=width)
        assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.evaluate("document.querySelectorAll('#training polyline').length") == 2
    assert "held out, last 3.000" in browser.evaluate("document.querySelector('#training').innerText")
    assert browser.evaluate("document.querySelector('.picture img').naturalWidth") == 300


def test_names_from_data_are_text_and_no_script_runs(browser: Browser, page: Path) -> None:
    browser.open(page, width=1280)
    assert browser.evaluate("document.scripts.length") == 0
    assert browser.evaluate("document.querySelectorAll('main b').length") == 0
    assert "/v/<script>alert(1)</script>.mp4" in browser.evaluate("document.body.innerText")


@pytest.mark.slow
@pytest.mark.parametrize("width", WIDTHS[:2])
def test_tables_show_their_numbers_under_named_columns(browser: Browser, page: Path, width: int) -> None:
    browser.open(page, width=width)
    tables = browser.evaluate(
        "Object.fromEntries([...document.querySelectorAll('table')].map(t => [t.caption.innerText,"
        " [...t.rows].map(r => [...r.cells].map(c => c.textContent))]))"
    )
    assert tables["Languages"][1:] == [["en", "1", "1", "9,980"], ["fr", "1", "0", "0"]]
    assert tables["Text removed from kept books"][1:] == [["boilerplate", "1", "1", "120"]]
    assert ["CC0-1.0", "a test", "3", "2", "10 s", "9,980"] in tables["Licenses and sources"]
    assert ["val", "video", "1", "1 h 0 min", "0", "1", "131"] in tables["Splits"]
    assert ["video", "9", "7", "3", "2"] in tables["By kind"]
    assert sum(int(row[1]) for row in tables["By kind"][1:]) == len(ROWS)
    label = "getComputedStyle(document.querySelector('td'), '::before').content"
    assert browser.evaluate(label) == ("none" if width > 600 else '"listed"')
    assert browser.evaluate(f"[...document.querySelectorAll('tbody td')].every({_SHOWN})")


def _contrast(browser: Browser) -> float:
    """Return the smallest contrast of any text with its ground, as WCAG 2 computes it."""
    ratio: float = browser.evaluate("""(() => {
      const rgb = text => (text.match(/[\\d.]+/g) || []).map(Number);
      const light = c => c.slice(0, 3).map(v => v / 255)
        .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
      const ground = e => {
        for (; e; e = e.parentElement) {
          const c = rgb(getComputedStyle(e).backgroundColor);
          if (c.length == 3 || c[3] > 0) return c;
        }
        return [255, 255, 255];
      };
      return Math.min(...[...document.querySelectorAll('body *')]
        .filter(e => [...e.childNodes].some(n => n.nodeType == 3 && n.data.trim()) && e.tagName != 'title')
        .map(e => {
          const style = getComputedStyle(e);
          const pair = [light(rgb(e instanceof SVGElement ? style.fill : style.color)), light(ground(e))];
          return (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
        }));
    })()""")
    return ratio
