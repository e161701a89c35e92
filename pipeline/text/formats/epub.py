"""EPUB: the pages of a book in the order of its spine, without markup.

The archive is untrusted. It is read in memory, never unpacked to disk, within limits on the number of entries, their
compression ratio and their total size. Cost: the unpacked pages are in memory at once.
"""

from __future__ import annotations

import posixpath
import zipfile
import zlib
from pathlib import Path
from urllib.parse import unquote
from xml.parsers import expat

from pipeline.text.formats.html import decode_page, html_text
from pipeline.text.formats.source_text import SourceText
from schemas.errors import InputError, Reason

_MAX_ENTRIES = 10_000
_MAX_RATIO = 200  # unpacked bytes over packed bytes; 3 to 10 for text
_MAX_UNCHECKED_BYTES = 1 << 20  # smaller entries may have any ratio
_MAX_XML_BYTES = 16 << 20  # of a package document
# Obfuscated fonts do not affect the text; any other encryption does.
_FONT_OBFUSCATION = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")


def read_epub(path: Path, max_bytes: int) -> SourceText:
    """Return the text of an EPUB.

    Raises InputError: UNREADABLE (not a valid archive, no spine, encrypted), TOO_LARGE for an archive that unpacks to
    more than `max_bytes` or is a zip bomb, NOT_TEXT as pipeline.text.encoding does.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            book = _Archive(archive, max_bytes)
            texts, encodings = [], []
            for name in _spine(book):
                page, encoding = decode_page(book.read(name))
                texts.append(html_text(page))
                encodings.append(encoding)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, ValueError) as e:
        if isinstance(e, InputError):
            raise
        raise InputError(Reason.UNREADABLE, f"{path} is not a readable EPUB: {e}") from e
    except RuntimeError as e:  # raised by zipfile for a password
        raise InputError(Reason.UNREADABLE, f"{path} is encrypted: {e}") from e
    return SourceText("\n".join(filter(None, texts)), "epub", next(iter(encodings), "utf-8"))


class _Archive:
    """A zip archive whose entries are read in memory, within limits on their number, ratio and total size."""

    def __init__(self, archive: zipfile.ZipFile, max_bytes: int) -> None:
        self._archive, self._remaining, self._max_bytes = archive, max_bytes, max_bytes
        entries = archive.infolist()
        if len(entries) > _MAX_ENTRIES:
            raise InputError(Reason.TOO_LARGE, f"the EPUB has {len(entries):,} entries; the limit is {_MAX_ENTRIES:,}")
        for entry in entries:
            if entry.file_size > max(_MAX_UNCHECKED_BYTES, _MAX_RATIO * entry.compress_size):
                raise InputError(
                    Reason.TOO_LARGE,
                    f"the EPUB's entry {entry.filename[:80]!r} unpacks from {entry.compress_size:,} to "
                    f"{entry.file_size:,} bytes, more than {_MAX_RATIO} times as much: a zip bomb",
                )
        self.names = {entry.filename for entry in entries}

    def read(self, name: str, limit: int | None = None) -> bytes:
        """Return an entry's bytes, which count against the limit of the whole archive."""
        most = min(self._remaining, limit or self._remaining)
        with self._archive.open(name) as stream:
            data = stream.read(most + 1)
        if len(data) > most:
            raise InputError(
                Reason.TOO_LARGE,
                f"the EPUB unpacks to more than {self._max_bytes:,} bytes; raise books.max-bytes or split the file",
            )
        self._remaining -= len(data)
        return data

    def elements(self, name: str) -> list[tuple[str, dict[str, str]]]:
        """Return the elements of an XML entry in order, without namespaces: (name, attributes)."""
        return xml_elements(self.read(name, _MAX_XML_BYTES))


def xml_elements(data: bytes) -> list[tuple[str, dict[str, str]]]:
    """Return the elements of an XML document in order, without namespaces: (name, attributes).

    Raises InputError UNREADABLE for invalid XML, and for entity declarations, which can expand without limit.
    """
    found: list[tuple[str, dict[str, str]]] = []
    parser = expat.ParserCreate()
    parser.StartElementHandler = lambda tag, attributes: found.append((tag.rpartition(":")[2], attributes))

    def reject(*_: object) -> int:
        raise InputError(Reason.UNREADABLE, "the EPUB's XML declares an entity, which is not allowed")

    parser.EntityDeclHandler = reject
    parser.ExternalEntityRefHandler = reject
    try:
        parser.Parse(data, True)
    except expat.ExpatError as e:
        raise InputError(Reason.UNREADABLE, f"the EPUB's XML is invalid: {e}") from e
    return found


def _spine(book: _Archive) -> list[str]:
    """Return the names of the entries with text, in reading order."""
    if "META-INF/container.xml" not in book.names:
        raise InputError(Reason.UNREADABLE, "a zip archive but not an EPUB: META-INF/container.xml is missing")
    _require_unencrypted(book)
    roots = [a.get("full-path", "") for tag, a in book.elements("META-INF/container.xml") if tag == "rootfile"]
    if not roots or roots[0] not in book.names:
        raise InputError(Reason.UNREADABLE, "the EPUB has no package document")
    elements = book.elements(roots[0])
    items = {a.get("id", ""): a for tag, a in elements if tag == "item"}
    order = [a.get("idref", "") for tag, a in elements if tag == "itemref" and a.get("linear") != "no"]
    names = []
    for item in (items[idref] for idref in dict.fromkeys(order) if idref in items):
        if "html" not in item.get("media-type", "") or "nav" in item.get("properties", "").split():
            continue
        href = unquote(item.get("href", "").partition("#")[0])
        names.append(posixpath.normpath(posixpath.join(posixpath.dirname(roots[0]), href)))
    if missing := [name for name in names if name not in book.names]:
        raise InputError(Reason.UNREADABLE, f"the EPUB's spine refers to {missing[0][:80]!r}, which is missing")
    if not names:
        raise InputError(Reason.UNREADABLE, "the EPUB's spine contains no text")
    return names


def _require_unencrypted(book: _Archive) -> None:
    if "META-INF/rights.xml" in book.names or "META-INF/sinf.xml" in book.names:
        raise InputError(Reason.UNREADABLE, "the EPUB is protected (DRM): its text cannot be read")
    if "META-INF/encryption.xml" in book.names:
        elements = book.elements("META-INF/encryption.xml")
        methods = {a.get("Algorithm", "") for tag, a in elements if tag == "EncryptionMethod"}
        if methods - set(_FONT_OBFUSCATION):
            raise InputError(Reason.UNREADABLE, "the EPUB is encrypted (DRM): its text cannot be read")
