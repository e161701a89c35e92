"""Running headers, footers and page numbers of scanned books."""

from __future__ import annotations

import random
import time

import pytest

from pipeline.text.books import BookConfig
from pipeline.text.cleaning.running_headers import strip_running_headers
from pipeline.text.cleaning.steps import clean
from tests.support.texts import sentences, story, wrapped

ALL = BookConfig().steps


def scanned(text: str, *, feed: bool, head: str = "THE OLD MILL", lines: int = 30) -> str:
    """Return the text as a scan: pages of lines with a running header and a page number."""
    set_lines = wrapped(text, 60).rstrip("\n").split("\n")
    pages = [set_lines[i : i + lines] for i in range(0, len(set_lines), lines)]
    edge = "\f" if feed else ""
    heads = ["", *(edge + head for _ in pages[1:])]  # the first page of a book has no header
    return "\n".join(
        "\n".join([above, "", *page, "", str(n)]) for n, (above, page) in enumerate(zip(heads, pages, strict=True), 7)
    )


@pytest.mark.parametrize("feed", [True, False])
def test_page_numbers_and_running_headers_of_a_scan_are_removed(feed: bool) -> None:
    text = story(7, 60)
    cleaned, counts = clean(scanned(text, feed=feed), ALL)
    assert cleaned.replace("\f", " ").split() == text.split()
    assert counts["running_header_lines"] >= 2 * 10
    whole = [part for part in cleaned.replace("\f", " ").split("\n\n") if part in text.split("\n\n")]
    assert len(whole) > 0.8 * 60  # most paragraphs that a page's end cut are one again
    assert (cleaned.count("\f") > 5) == feed  # by which `trace` counts pages


def test_headers_with_numbers_are_removed_and_chapter_headings_kept() -> None:
    body = sentences(9, 500)
    lines = []
    for n in range(20):
        lines += [f"{n + 101}   THE OLD MILL" if n % 2 else f"THE OLD MILL   {n + 101}", *body[n * 25 : n * 25 + 25]]
    cleaned, count = strip_running_headers("\n".join(lines) + "\n")
    assert (cleaned, count) == ("\n".join(body) + "\n", 20.0)
    rng = random.Random(0)
    for head in ("{}", "Chapter {}", "Mill {}"):
        long = [f"{head.format(n)}\n\n" + "\n".join(sentences(n, rng.randint(20, 80))) for n in range(1, 30)]
        chapters = "\n\n".join(long) + "\n"
        assert strip_running_headers(chapters) == (chapters, 0.0)
    pages = "\n\f".join(f"Chapter {n}\n\n" + "\n".join(sentences(n, 30)) for n in range(1, 12)) + "\n"
    assert strip_running_headers(pages) == (pages, 0.0)
    sonnets = "\n\n".join(f"{n}\n\n" + "\n".join(sentences(n, 14)) for n in range(1, 60)) + "\n"
    assert strip_running_headers(sonnets) == (sonnets, 0.0)
    listed = "\n".join(str(n) for n in range(1, 50)) + "\n"
    assert strip_running_headers(listed) == (listed, 0.0)
    marked = "He came [Pg 12] home.\n\n[Pg 13]\n\n{page 14} Late, wo[Pg 15]rn [Pg 16]\nand tired.[Pg 17]\n"
    assert strip_running_headers(marked) == ("He came home.\n\n\nLate, worn\nand tired.\n", 6.0)


def test_many_empty_pages_take_linear_time() -> None:
    pages = "".join(f"\fiv\n\n{'text ' * 5}end\n" for _ in range(20))
    began = time.monotonic()
    cleaned, removed = strip_running_headers(pages + "\n\f" * 300_000 + "iv\n\nlast\n")
    assert time.monotonic() - began < 20
    assert cleaned.count("\f") == 300_020
    assert (removed, "iv" in cleaned, cleaned[-6:]) == (21, False, "\flast\n")
