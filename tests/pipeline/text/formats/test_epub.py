"""EPUBs: reading order, limits, encryption and damage."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from pipeline.text.books import BookConfig, load_book, read_book
from pipeline.text.formats.epub import read_epub, xml_elements
from schemas.errors import InputError, Reason
from tests.support.epubs import CONTAINER, OPF, make_epub

PLAIN = BookConfig(
    repair_text=False, strip_boilerplate=False, strip_running_headers=False, join_hyphens=False, join_lines=False
)
BILLION = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]>'
EXTERNAL = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
ENCRYPTED = '<encryption xmlns="x"><EncryptedData><EncryptionMethod Algorithm="{}"/></EncryptedData></encryption>'


def rejection(path: Path, config: BookConfig = PLAIN) -> tuple[Reason, str]:
    with pytest.raises(InputError) as caught:
        list(read_book(path, config))
    return caught.value.reason, str(caught.value)


def test_pages_are_read_in_the_order_of_the_spine(tmp_path: Path) -> None:
    book = load_book(make_epub(tmp_path / "a.epub"), BookConfig())
    assert (
        book.text
        == "Chapter One\n\nCall me Ishmael. Some years ago\nI went to sea.\n\nTwo\n\nThe caf\u00e9 & the sea.\n"
    )
    assert (book.container, book.encoding) == ("epub", "utf-8")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.epub"]  # nothing is unpacked to disk


@pytest.mark.parametrize(
    ("changes", "reason", "message"),
    [
        ({"META-INF/container.xml": None}, Reason.UNREADABLE, "META-INF/container.xml is missing"),
        ({"OPS/book.opf": None}, Reason.UNREADABLE, "has no package document"),
        ({"OPS/first.xhtml": None}, Reason.UNREADABLE, "'OPS/first.xhtml', which is missing"),
        ({"OPS/book.opf": OPF.replace("first.xhtml", "../../etc/passwd")}, Reason.UNREADABLE, "which is missing"),
        ({"OPS/book.opf": OPF[:200]}, Reason.UNREADABLE, "XML is invalid"),
        ({"OPS/book.opf": OPF.replace("<package", BILLION + "<package")}, Reason.UNREADABLE, "declares an entity"),
        ({"META-INF/container.xml": CONTAINER.replace("<cont", EXTERNAL + "<cont")}, Reason.UNREADABLE, "entity"),
        ({"META-INF/encryption.xml": ENCRYPTED.format("aes256-cbc")}, Reason.UNREADABLE, "encrypted"),
        ({"META-INF/rights.xml": "<rights/>"}, Reason.UNREADABLE, "DRM"),
        ({"OPS/first.xhtml": b"\xff\xfe\x00"}, Reason.NOT_TEXT, "is not valid UTF-16"),
        ({"OPS/first.xhtml": "", "OPS/second part.xhtml": "<p> </p>"}, Reason.EMPTY, "contains only white space"),
        ({"OPS/first.xhtml": "a" * (30 << 20)}, Reason.TOO_LARGE, "a zip bomb"),
        ({"OPS/first.xhtml": "<b>" * 400}, Reason.UNREADABLE, "formatting"),
        ({f"OPS/{i}": "" for i in range(10_001)}, Reason.TOO_LARGE, "entries; the limit is 10,000"),
    ],
)  # fmt: skip
def test_invalid_encrypted_and_malicious_files_are_rejected(
    tmp_path: Path, changes: dict[str, str | bytes | None], reason: Reason, message: str
) -> None:
    found, told = rejection(make_epub(tmp_path / "a.epub", changes))
    assert (found, message in told) == (reason, True), told


def test_obfuscated_fonts_are_accepted(tmp_path: Path) -> None:
    fonts = {"META-INF/encryption.xml": ENCRYPTED.format("http://www.idpf.org/2008/embedding")}
    assert "Ishmael" in load_book(make_epub(tmp_path / "a.epub", fonts), PLAIN).text


def test_total_unpacked_size_is_limited(tmp_path: Path) -> None:
    items = "".join(f'<item id="i{i}" href="{i}.html" media-type="text/html"/>' for i in range(20))
    spine = "".join(f'<itemref idref="i{i}"/>' for i in range(20))
    opf = f"<package><manifest>{items}</manifest><spine>{spine}</spine></package>"
    page = "<p>" + "a" * (1000 << 10)
    parts = {f"OPS/{i}.html": page for i in range(20)}
    path = make_epub(tmp_path / "a.epub", {"OPS/book.opf": opf, **parts})
    assert path.stat().st_size < 1 << 20
    found, told = rejection(path, BookConfig(max_bytes=4 << 20))
    assert found is Reason.TOO_LARGE
    assert "unpacks to more than 4,194,304 bytes" in told


def test_password_and_truncated_archive_are_unreadable(tmp_path: Path) -> None:
    path = make_epub(tmp_path / "a.epub")
    data = bytearray(path.read_bytes())
    for magic, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # set the "encrypted" flag of each entry
        at = -1
        while (at := data.find(magic, at + 1)) >= 0:
            data[at + flags] |= 1
    (tmp_path / "locked.epub").write_bytes(data)
    assert rejection(tmp_path / "locked.epub")[0] is Reason.UNREADABLE
    (tmp_path / "cut.epub").write_bytes(path.read_bytes()[:700])
    assert rejection(tmp_path / "cut.epub")[0] is Reason.UNREADABLE
    (tmp_path / "none.epub").write_text("not a zip")
    assert rejection(tmp_path / "none.epub")[0] is Reason.UNREADABLE


def test_file_with_changed_bytes_is_a_book_or_rejected(tmp_path: Path) -> None:
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


def test_elements_are_returned_in_order_without_namespaces() -> None:
    data = b'<a:x xmlns:a="urn:a" k="1"><y/><a:z k="2">text</a:z></a:x>'
    assert [(name, fields.get("k")) for name, fields in xml_elements(data)] == [("x", "1"), ("y", None), ("z", "2")]


def test_reader_names_the_format_and_encoding(tmp_path: Path) -> None:
    source = read_epub(make_epub(tmp_path / "a.epub"), 1 << 20)
    assert (source.container, source.encoding) == ("epub", "utf-8")
