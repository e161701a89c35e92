"""EPUBs: reading order, limits, encryption and damage."""

from __future__ import annotations

import random
import zipfile
from pathlib import Path

import pytest

from pipeline.text.books import BookConfig, load_book, read_book
from pipeline.text.formats.epub import read_epub
from schemas.errors import InputError, Reason
from tests.support.inputs.epubs import CONTAINER, OPF, PARTS, make_epub

PLAIN = BookConfig(
    repair_text=False, strip_boilerplate=False, strip_running_headers=False, join_hyphens=False, join_lines=False
)
BILLION = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]>'
EXTERNAL = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
ENCRYPTED = '<encryption xmlns="x"><EncryptedData><EncryptionMethod Algorithm="{}"/></EncryptedData></encryption>'

ONE_ENCRYPTED = (
    '<e:encryption xmlns:e="x"><e:EncryptedData><e:EncryptionMethod Algorithm="aes256-cbc"/><e:CipherData>'
    '<e:CipherReference URI="OPS/first.xhtml"/></e:CipherData></e:EncryptedData></e:encryption>'
)


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
        ({"OPS/book.opf": None}, Reason.UNREADABLE, "has no package document"),
        ({"OPS/book.opf": OPF[:200]}, Reason.UNREADABLE, "the EPUB's spine contains no text"),
        ({"OPS/book.opf": OPF.replace("<package", BILLION + "<package")}, Reason.UNREADABLE, "declares an entity"),
        ({"OPS/book.opf": "&nbsp;" + BILLION + OPF}, Reason.UNREADABLE, "declares an entity"),
        ({"META-INF/container.xml": CONTAINER.replace("<cont", EXTERNAL + "<cont")}, Reason.UNREADABLE, "entity"),
        ({"META-INF/encryption.xml": ENCRYPTED.format("aes256-cbc")}, Reason.UNREADABLE, "is encrypted (DRM)"),
        ({"OPS/first.xhtml": "", "OPS/second part.xhtml": "<p> </p>"}, Reason.EMPTY, "contains only white space"),
        ({"OPS/first.xhtml": "a" * (30 << 20)}, Reason.TOO_LARGE, "a zip bomb"),
        ({"OPS/first.xhtml": None, "OPS/second part.xhtml": None}, Reason.UNREADABLE, "2 chapters, and none can"),
        ({"OPS/first.xhtml": "<b>" * 400, "OPS/second part.xhtml": None}, Reason.UNREADABLE, "formatting"),
        ({f"OPS/{i}": "" for i in range(10_001)}, Reason.TOO_LARGE, "entries; the limit is 10,000"),
    ],
)  # fmt: skip
def test_encrypted_and_malicious_files_and_files_without_a_chapter_are_rejected(
    tmp_path: Path, changes: dict[str, str | bytes | None], reason: Reason, message: str
) -> None:
    found, told = rejection(make_epub(tmp_path / "a.epub", changes))
    assert (found, message in told) == (reason, True), told


@pytest.mark.parametrize(
    "changes",
    [
        {"OPS/first.xhtml": None},
        {"OPS/first.xhtml": b"\xff\xfe\x00"},
        {"OPS/first.xhtml": "<b>" * 400},
        {"OPS/book.opf": OPF.replace("first.xhtml", "../../etc/passwd")},
        {"OPS/book.opf": OPF.replace("first.xhtml", "/etc/passwd")},
        {"OPS/book.opf": OPF.replace("first.xhtml", "file:///etc/passwd")},
        {"OPS/book.opf": OPF.replace('idref="one"', 'idref="absent"')},
        {"META-INF/encryption.xml": ONE_ENCRYPTED, "META-INF/rights.xml": "<rights/>"},
    ],
)
def test_a_chapter_that_cannot_be_read_costs_itself_and_is_counted(
    tmp_path: Path, changes: dict[str, str | bytes | None]
) -> None:
    book = load_book(make_epub(tmp_path / "a.epub", changes), PLAIN)
    assert book.text.split() == ["Two", "The", "caf\u00e9", "&", "the", "sea."]
    assert book.counts["lost_chapters"] == 1


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_damaged_chapter_costs_itself_in_every_compression(tmp_path: Path, compression: int) -> None:
    path = tmp_path / "a.epub"
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in PARTS.items():
            archive.writestr(name, content)
        entry = archive.getinfo("OPS/first.xhtml")
    data = bytearray(path.read_bytes())
    middle = entry.header_offset + 30 + len(entry.filename) + entry.compress_size // 2
    data[middle : middle + 8] = b"\xff\x00" * 4
    path.write_bytes(data)
    book = load_book(path, PLAIN)
    assert (book.counts["lost_chapters"], "Ishmael" in book.text, "the sea" in book.text) == (1, False, True)


def test_lost_chapters_are_a_measure_of_epubs_only(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("A text of one line.")
    assert "lost_chapters" not in load_book(tmp_path / "a.txt", PLAIN).counts
    assert load_book(make_epub(tmp_path / "a.epub"), PLAIN).counts["lost_chapters"] == 0


@pytest.mark.parametrize(
    "media_type",
    ["text/x-oeb1-document", "text/html", "application/xml", "text/xml", "application/x-dtbook+xml", "", "image/jpeg"],
)
def test_media_types_of_pages_may_be_old_wrong_or_missing(tmp_path: Path, media_type: str) -> None:
    old = 'href="first.xhtml" media-type="application/xhtml+xml"'
    assert old in OPF
    for new in (f'href="first.xhtml" media-type="{media_type}"', 'href="first.xhtml"'):
        book = load_book(make_epub(tmp_path / "a.epub", {"OPS/book.opf": OPF.replace(old, new)}), PLAIN)
        assert "Ishmael" in book.text


def test_pictures_and_styles_in_the_spine_are_no_chapters(tmp_path: Path) -> None:
    opf = OPF.replace("<spine>", '<spine><itemref idref="css"/><itemref idref="cover"/>').replace(
        "<manifest>", '<manifest><item id="cover" href="cover.jpg" media-type="image/jpeg"/>'
    )
    book = load_book(make_epub(tmp_path / "a.epub", {"OPS/book.opf": opf, "OPS/cover.jpg": b"\xff\xd8\0"}), PLAIN)
    assert book.counts["lost_chapters"] == 0


def test_bytes_before_the_archive_are_ignored(tmp_path: Path) -> None:
    path = make_epub(tmp_path / "a.epub")
    path.write_bytes(b"HTTP/1.1 200 OK\r\n\r\n" + path.read_bytes())
    assert "Ishmael" in load_book(path, PLAIN).text


def test_a_page_with_cdata_and_undeclared_entities_is_read(tmp_path: Path) -> None:
    page = "<html><body><p>a&nbsp;b&eacute; <![CDATA[1 < 2 & 3]]></p></body></html>"
    book = load_book(make_epub(tmp_path / "a.epub", {"OPS/first.xhtml": page}), PLAIN)
    assert "a b\u00e9 1 < 2 & 3" in book.text


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


def test_reader_names_the_format_and_encoding(tmp_path: Path) -> None:
    source = read_epub(make_epub(tmp_path / "a.epub"), 1 << 20)
    assert (source.container, source.encoding, source.counts) == ("epub", "utf-8", {"lost_chapters": 0})
