"""Books of every format, from file to chunks."""

from __future__ import annotations

import random
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.text.books import BookConfig, kept_ranges, load_book, read_book
from schemas.errors import ConfigError, InputError, Reason
from tests.support.texts import story, wrapped

PLAIN = BookConfig(
    repair_text=False, strip_boilerplate=False, strip_running_headers=False, join_hyphens=False, join_lines=False
)
CONTAINER = """<?xml version="1.0"?><container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container">
<rootfiles><rootfile full-path="OPS/book.opf" media-type="application/oebps-package+xml"/></rootfiles></container>"""
OPF = """<?xml version="1.0"?><package xmlns="http://www.idpf.org/2007/opf" version="3.0"><manifest>
<item id="nav" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/>
<item id="two" href="second%20part.xhtml" media-type="application/xhtml+xml"/>
<item id="one" href="first.xhtml" media-type="application/xhtml+xml"/>
<item id="css" href="a.css" media-type="text/css"/><item id="notes" href="n.xhtml" media-type="application/xhtml+xml"/>
</manifest><spine><itemref idref="nav"/><itemref idref="one"/><itemref idref="two"/>
<itemref idref="notes" linear="no"/></spine></package>"""
FIRST = """<?xml version="1.0" encoding="utf-8"?><html xmlns="http://www.w3.org/1999/xhtml"><head><title/>
<style>p {color: red}</style></head><body><h1>Chapter&#160;One</h1><p>Call me <i>Ishmael</i>.
Some years ago<br/>I went to sea.</p><script>alert("no")</script></body></html>"""
SECOND = "<html><body><h2>Two</h2><p>The caf\u00e9 &amp; the sea.</p></body></html>"
PARTS = {
    "mimetype": "application/epub+zip",
    "META-INF/container.xml": CONTAINER,
    "OPS/book.opf": OPF,
    "OPS/first.xhtml": FIRST,
    "OPS/second part.xhtml": SECOND,
    "OPS/nav.xhtml": "<html><body><nav>Contents</nav></body></html>",
    "OPS/n.xhtml": "<html><body><p>a note</p></body></html>",
}


def make_epub(path: Path, changes: Mapping[str, str | bytes | None] | None = None) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {**PARTS, **(changes or {})}.items():
            if content is not None:
                archive.writestr(name, content)
    return path


def refused(path: Path, config: BookConfig = PLAIN) -> tuple[Reason, str]:
    with pytest.raises(InputError) as caught:
        list(read_book(path, config))
    return caught.value.reason, str(caught.value)


def test_an_epub_is_read_in_the_order_of_its_spine(tmp_path: Path) -> None:
    book = load_book(make_epub(tmp_path / "a.epub"), BookConfig())
    assert (
        book.text
        == "Chapter One\n\nCall me Ishmael. Some years ago\nI went to sea.\n\nTwo\n\nThe caf\u00e9 & the sea.\n"
    )
    assert (book.container, book.encoding) == ("epub", "utf-8")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.epub"]  # nothing is unpacked


BILLION = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]>'
EXTERNAL = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
ENCRYPTED = '<encryption xmlns="x"><EncryptedData><EncryptionMethod Algorithm="{}"/></EncryptedData></encryption>'


@pytest.mark.parametrize(
    ("changes", "reason", "message"),
    [
        ({"META-INF/container.xml": None}, Reason.UNREADABLE, "no EPUB: it has no META-INF/container.xml"),
        ({"OPS/book.opf": None}, Reason.UNREADABLE, "names no package document"),
        ({"OPS/first.xhtml": None}, Reason.UNREADABLE, "'OPS/first.xhtml', which is not in it"),
        ({"OPS/book.opf": OPF.replace("first.xhtml", "../../etc/passwd")}, Reason.UNREADABLE, "which is not in it"),
        ({"OPS/book.opf": OPF[:200]}, Reason.UNREADABLE, "XML is broken"),
        ({"OPS/book.opf": OPF.replace("<package", BILLION + "<package")}, Reason.UNREADABLE, "declares an entity"),
        ({"META-INF/container.xml": CONTAINER.replace("<cont", EXTERNAL + "<cont")}, Reason.UNREADABLE, "entity"),
        ({"META-INF/encryption.xml": ENCRYPTED.format("aes256-cbc")}, Reason.UNREADABLE, "encrypted"),
        ({"META-INF/rights.xml": "<rights/>"}, Reason.UNREADABLE, "DRM"),
        ({"OPS/first.xhtml": b"\xff\xfe\x00"}, Reason.NOT_TEXT, "is not UTF-16"),
        ({"OPS/first.xhtml": "", "OPS/second part.xhtml": "<p> </p>"}, Reason.EMPTY, "without a letter"),
        ({"OPS/first.xhtml": "a" * (30 << 20)}, Reason.TOO_LARGE, "a zip bomb"),
        ({"OPS/first.xhtml": "<b>" * 400}, Reason.UNREADABLE, "formatting"),
        ({f"OPS/{i}": "" for i in range(10_001)}, Reason.TOO_LARGE, "entries; at most 10,000"),
    ],
)  # fmt: skip
def test_an_epub_that_is_broken_locked_or_a_bomb_says_so(
    tmp_path: Path, changes: dict[str, str | bytes | None], reason: Reason, message: str
) -> None:
    found, told = refused(make_epub(tmp_path / "a.epub", changes))
    assert (found, message in told) == (reason, True), told


def test_scrambled_fonts_do_not_lock_a_book(tmp_path: Path) -> None:
    fonts = {"META-INF/encryption.xml": ENCRYPTED.format("http://www.idpf.org/2008/embedding")}
    assert "Ishmael" in load_book(make_epub(tmp_path / "a.epub", fonts), PLAIN).text


def test_an_epub_whose_parts_are_many_small_bombs_meets_the_limit_on_the_whole(tmp_path: Path) -> None:
    items = "".join(f'<item id="i{i}" href="{i}.html" media-type="text/html"/>' for i in range(20))
    spine = "".join(f'<itemref idref="i{i}"/>' for i in range(20))
    opf = f"<package><manifest>{items}</manifest><spine>{spine}</spine></package>"
    page = "<p>" + "a" * (1000 << 10)
    parts = {f"OPS/{i}.html": page for i in range(20)}
    path = make_epub(tmp_path / "a.epub", {"OPS/book.opf": opf, **parts})
    assert path.stat().st_size < 1 << 20
    found, told = refused(path, BookConfig(max_bytes=4 << 20))
    assert found is Reason.TOO_LARGE
    assert "unpacks to more than 4,194,304 bytes" in told


def test_a_password_and_a_cut_archive_are_unreadable(tmp_path: Path) -> None:
    path = make_epub(tmp_path / "a.epub")
    data = bytearray(path.read_bytes())
    for magic, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # the flag "encrypted" of each entry
        at = -1
        while (at := data.find(magic, at + 1)) >= 0:
            data[at + flags] |= 1
    (tmp_path / "locked.epub").write_bytes(data)
    assert refused(tmp_path / "locked.epub")[0] is Reason.UNREADABLE
    (tmp_path / "cut.epub").write_bytes(path.read_bytes()[:700])
    assert refused(tmp_path / "cut.epub")[0] is Reason.UNREADABLE
    (tmp_path / "none.epub").write_text("not a zip")
    assert refused(tmp_path / "none.epub")[0] is Reason.UNREADABLE


def test_an_epub_with_bytes_changed_is_a_book_or_a_reason(tmp_path: Path) -> None:
    good, rng, path = make_epub(tmp_path / "a.epub").read_bytes(), random.Random(0), tmp_path / "b.epub"
    outcomes = set()
    for _ in range(200):
        data = bytearray(good)
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        path.write_bytes(data[: rng.choice((len(data), rng.randrange(len(data))))])
        try:
            outcomes.add(load_book(path, PLAIN).container)
        except InputError as e:
            outcomes.add(e.reason)
    assert {"epub", Reason.UNREADABLE} <= outcomes


def test_a_page_is_its_headings_and_paragraphs(tmp_path: Path) -> None:
    page = """<!DOCTYPE html><html><head><meta charset="windows-1252"><title>no</title></head><body>
    <nav><a href="x">Home</a></nav><h1>The Sea</h1><p>It  was\nblue &ndash; and <b>cold</b>.</p>
    <pre>  a poem\n    in lines</pre><ul><li>one<li>two</ul><table><tr><td>a<td>b</table><form>search</form>
    <p hidden>hidden</p><script>if (a < b) {}</script>\x93Quoted\x94</body></html>"""
    (tmp_path / "a.html").write_bytes(page.encode("latin-1"))
    book = load_book(tmp_path / "a.html", BookConfig())
    expected = ["The Sea", "It was blue – and cold.", "  a poem\n    in lines", "one", "two", "a\tb", "“Quoted”"]
    assert book.text == "\n\n".join(expected) + "\n"
    assert (book.container, book.encoding) == ("html", "cp1252")


@pytest.mark.parametrize("page", ["<div>" * 300, "<p>" + "<i>" * 20 + "x", "<font size=1><p>" * 5000])
def test_a_page_that_would_take_a_parser_without_bound_is_refused(tmp_path: Path, page: str) -> None:
    (tmp_path / "a.html").write_text(page + "words")
    assert refused(tmp_path / "a.html")[0] is Reason.UNREADABLE


def test_what_cannot_be_opened_says_why(tmp_path: Path) -> None:
    assert refused(tmp_path / "nowhere.txt")[0] is Reason.MISSING
    assert refused(tmp_path)[0] is Reason.UNREADABLE
    (tmp_path / "long.txt").write_text("x" * 101)
    assert refused(tmp_path / "long.txt", BookConfig(max_bytes=100))[0] is Reason.TOO_LARGE
    (tmp_path / "blank.txt").write_text(" \n\t")
    assert refused(tmp_path / "blank.txt")[0] is Reason.EMPTY
    with pytest.raises(ConfigError, match="max_bytes must be at least 1, got 0"):
        BookConfig(max_bytes=0)


def test_without_cleaning_a_text_is_what_it_was(tmp_path: Path) -> None:
    text = "*** START OF THE PROJECT GUTENBERG EBOOK X ***\r\n\r\n  page \x0c1\r ﬁ&amp; exam-\nple \n\n\n\n\n"
    (tmp_path / "a.txt").write_bytes(text.encode())
    assert load_book(tmp_path / "a.txt", PLAIN).text == text.replace("\r\n", "\n").replace("\r", "\n")


def test_chunks_leave_out_the_cuts_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(wrapped(story(1)))
    text = load_book(tmp_path / "a.txt", BookConfig()).text
    assert text == story(1)
    cuts = [{"start": 100, "end": 200}, {"start": 150, "end": 300}, {"start": 1000, "end": 1100}]
    chunks = list(read_book(tmp_path / "a.txt", BookConfig(), cuts=cuts, chunk_chars=64))
    assert "".join(chunks) == text[:100] + text[300:1000] + text[1100:]
    assert max(map(len, chunks)) == 64
    known = load_book(tmp_path / "a.txt", BookConfig()).content_id
    assert "".join(read_book(tmp_path / "a.txt", BookConfig(), content_id=known)) == text
    with pytest.raises(InputError, match="not the one that was surveyed") as caught:
        list(read_book(tmp_path / "a.txt", BookConfig(join_lines=False), content_id=known))
    assert caught.value.reason is Reason.CHANGED
    everything = [{"start": 0, "end": len(text)}]
    with pytest.raises(InputError, match="the cuts leave nothing"):
        list(read_book(tmp_path / "a.txt", BookConfig(), cuts=everything))


ranges = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)).map(sorted), max_size=6)


@given(cuts=ranges)
def test_every_character_is_kept_or_cut(cuts: list[list[int]]) -> None:
    kept = {i for a, b in kept_ranges(50, [{"start": a, "end": b} for a, b in cuts]) for i in range(a, b)}
    assert kept == set(range(50)) - {i for a, b in cuts for i in range(a, b)}
