"""HTML pages: their text, their encoding, and limits on their structure."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.text.books import BookConfig, load_book, read_book
from pipeline.text.encoding import Decoded
from pipeline.text.formats.html import decode_page, html_text, read_html
from schemas.errors import InputError, Reason

PLAIN = BookConfig(
    repair_text=False, strip_boilerplate=False, strip_running_headers=False, join_hyphens=False, join_lines=False
)


def rejection(path: Path, config: BookConfig = PLAIN) -> tuple[Reason, str]:
    with pytest.raises(InputError) as caught:
        list(read_book(path, config))
    return caught.value.reason, str(caught.value)


def test_page_becomes_its_headings_and_paragraphs(tmp_path: Path) -> None:
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
def test_page_that_takes_a_parser_unbounded_time_is_rejected(tmp_path: Path, page: str) -> None:
    (tmp_path / "a.html").write_text(page + "words")
    assert rejection(tmp_path / "a.html")[0] is Reason.UNREADABLE


def test_page_without_text_is_empty() -> None:
    assert html_text("<html><head><title>title</title></head><body></body></html>").strip() == ""


def test_line_breaks_preformatted_text_and_cells_are_kept() -> None:
    page = "<p>one<br>two</p><pre>a\n  b</pre><table><tr><td>x<td>y</table>"
    assert html_text(page) == "one\ntwo\n\na\n  b\n\nx\ty\n"


def test_self_closing_elements_of_xhtml_do_not_swallow_the_page() -> None:
    assert html_text("<html><head><title/></head><body><p>text</p></body></html>") == "text\n"


def test_declared_encoding_is_used_if_the_page_is_not_utf_8() -> None:
    page = '<meta charset="windows-1251"><p>весна</p>'
    assert decode_page(page.encode("cp1251")) == Decoded(page, "cp1251")
    assert decode_page(page.encode()) == Decoded(page, "utf-8")
    unknown = '<meta charset="x-unknown"><p>' + "The café was closed, and nobody came. " * 9
    assert decode_page(unknown.encode("cp1252")) == Decoded(unknown, "cp1252")


def test_reader_names_the_format(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text("<p>text</p>")
    assert read_html(tmp_path / "a.html", 100)[:3] == ("text\n", "html", "utf-8")


@pytest.mark.parametrize(
    ("page", "message"),
    [
        ("<p " + " ".join(f"a{i}=1" for i in range(100_000)) + ">", "more than 256 attributes"),
        ("<p x='>'" + " ".join(f"a{i}" for i in range(100_000)) + ">", "more than 256 attributes"),
        ('<p title="<"' + " ".join(f"a{i}" for i in range(100_000)) + ">", "more than 256 attributes"),
        ("".join(f"<body a{i}=1>" for i in range(60_000)), "more than 64 html and body elements"),
        ("".join(f"<HTML a{i}=1>" for i in range(60_000)), "more than 64 html and body elements"),
    ],
)
def test_attributes_that_would_take_quadratic_time_are_rejected(page: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as e:
        html_text(page)
    assert e.value.reason is Reason.UNREADABLE


def test_long_values_and_unterminated_quotes_are_no_attributes() -> None:
    image = f'<img alt="{"many words " * 2000}" src="data:image/png;base64,{"A" * 10_000}">'
    assert html_text(f"{image}<p class='{'a ' * 5000}'>text</p>") == "text\n"
    assert html_text("<p>text</p>" + "<a x=\"<a y='" * 20) == "text\n"
