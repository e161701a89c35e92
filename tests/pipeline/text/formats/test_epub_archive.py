"""Names and limits of the entries of an EPUB."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from pipeline.text.formats.epub_archive import EpubArchive
from schemas.errors import InputError, Reason


def write(path: Path, entries: list[tuple[str, str]], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return path


def opened(path: Path) -> EpubArchive:
    return EpubArchive(zipfile.ZipFile(path), 1 << 20)


@pytest.mark.parametrize(
    ("entry", "href"),
    [
        ("OPS/a.xhtml", "a.xhtml"),
        ("OPS/Text/A.xhtml", "text/a.XHTML"),
        ("OPS/a.xhtml", "./a.xhtml#part"),
        ("OPS/a.xhtml", "a.xhtml?x=1"),
        ("OPS/a.xhtml", "/OPS/a.xhtml"),
        ("OPS/a.xhtml", "OPS/a.xhtml"),
        ("OPS/a.xhtml", "..\\OPS\\a.xhtml"),
        ("OPS\\a.xhtml", "a.xhtml"),
        ("/OPS/a.xhtml", "a.xhtml"),
        ("OPS/a b.xhtml", "a%20b.xhtml"),
        ("OPS/a%20b.xhtml", "a%20b.xhtml"),
        ("OPS/a b.xhtml", "a%2520b.xhtml"),
        ("OPS/caf\u00e9.xhtml", "cafe\u0301.xhtml"),
        ("OPS/cafe\u0301.xhtml", "caf%C3%A9.xhtml"),
        ("OPS/caf\u00e9.xhtml", "caf%E9.xhtml"),
        ("OPS/Stra\u00dfe.xhtml", "STRASSE.xhtml"),
        ("OPS/a#1.xhtml", "a#1.xhtml"),
        ("a.xhtml", "../a.xhtml"),
    ],
)
def test_a_reference_finds_its_entry_as_in_tolerant_readers(tmp_path: Path, entry: str, href: str) -> None:
    archive = opened(write(tmp_path / "a.zip", [("OPS/", ""), (entry, "page")]))
    found = archive.find(href, folder="OPS")
    assert found is not None
    assert archive.read(found) == b"page"


@pytest.mark.parametrize(
    "href", ["", "#a", "../../OPS/a.xhtml", "../..", "..\\..\\etc\\passwd", "//host/a", "b.xhtml", "."]
)
def test_a_reference_to_nothing_or_out_of_the_archive_finds_nothing(tmp_path: Path, href: str) -> None:
    archive = opened(write(tmp_path / "a.zip", [("OPS/", ""), ("OPS/a.xhtml", "page"), ("../etc/passwd", "no")]))
    assert archive.find(href, folder="OPS") is None


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252"])
def test_a_name_without_the_flag_of_its_encoding_is_found(tmp_path: Path, encoding: str) -> None:
    raw = "caf\u00e9.xhtml".encode(encoding)
    placeholder = "x" * len(raw)
    path = write(tmp_path / "a.zip", [(placeholder, "page")])
    path.write_bytes(path.read_bytes().replace(placeholder.encode(), raw))
    archive = opened(path)
    found = archive.find("caf\u00e9.xhtml")
    assert found is not None
    assert archive.read(found) == b"page"


def test_a_name_that_differs_between_header_and_directory_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", [("text/a.xhtml", "page")])
    path.write_bytes(path.read_bytes().replace(b"text/a", b"text\\a", 1))
    assert opened(path).read("text/a.xhtml") == b"page"


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_of_duplicate_entries_the_last_readable_one_is_used(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", [("a", "first"), ("a", "second")], zipfile.ZIP_STORED)
    assert opened(path).read("a") == b"second"
    path.write_bytes(path.read_bytes().replace(b"second", b"damage"))
    assert opened(path).read("a") == b"first"


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_what_is_read_is_limited_in_every_compression(tmp_path: Path, compression: int) -> None:
    path = write(tmp_path / "a.zip", [(name, "x" * 600_000) for name in "ab"], compression)
    archive = opened(path)
    assert len(archive.read("a")) == 600_000
    with pytest.raises(InputError, match="unpacks to more than 1,048,576 bytes") as e:
        archive.read("b")
    assert e.value.reason is Reason.TOO_LARGE


def test_an_lzma_entry_with_a_huge_dictionary_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", [("a", "text")], zipfile.ZIP_LZMA)
    data = bytearray(path.read_bytes())
    at = 30 + 1 + 5  # after the header, the name, and version, size and first byte of the properties
    data[at : at + 4] = (3 << 30).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(InputError, match="an LZMA dictionary of 3,221,225,472 bytes"):
        opened(path).read("a")


def test_a_missing_entry_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no entry 'b'"):
        opened(write(tmp_path / "a.zip", [("a", "")])).read("b")
