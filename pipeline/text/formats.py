"""What a book's file holds as text: plain text and Markdown as they stand, HTML and EPUB without their markup.

Which one a file is, its first bytes and its ending say. An EPUB is read in memory, in the order of its spine, and
never unpacked to disk. Cost: the file, and what is unpacked of it, are in memory at once.
"""

from __future__ import annotations

import codecs
import posixpath
import re
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote
from xml.parsers import expat

from pipeline.text.encoding import decode, one_line_end, require_letters, require_size
from pipeline.text.html import html_text
from schemas.errors import InputError, Reason

_ZIP_MAGIC = b"PK\x03\x04"
_MAX_ENTRIES = 10_000
_MAX_RATIO = 200  # unpacked bytes over packed ones; text is packed 3 to 10 times
_FREE_BYTES = 1 << 20  # below which no ratio is asked of an entry
_XML_BYTES = 16 << 20  # of a package document
_DECLARED = re.compile(
    rb"""<\?xml[^>]{0,200}?encoding\s*=\s*["']([\w.:-]{1,40})|<meta[^>]{0,400}?charset\s*=\s*["']?([\w.:-]{1,40})""",
    re.I,
)
_ENCODING_NAME = re.compile("ascii|us-ascii|utf|iso-?8859|windows-?125|cp|koi8|big5|gb|euc|shift|latin|mac|tis", re.I)
# Fonts may be scrambled in a book that anyone can read; anything else that is encrypted cannot be.
_FONT_SCRAMBLING = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")


class Source(NamedTuple):
    """The text of a file, its line ends "\\n", and what the file is."""

    text: str
    container: str  # text, html, epub
    encoding: str


def read_source(path: Path, max_bytes: int) -> Source:
    """Return what a book's file holds as text.

    Raises InputError: MISSING, UNREADABLE (no zip, no spine, encrypted), TOO_LARGE past `max_bytes`, packed or
    unpacked, or where it unpacks like a zip bomb; NOT_TEXT and EMPTY as pipeline.text.encoding does.
    """
    size = require_size(path, max_bytes)
    try:
        with path.open("rb") as stream:
            is_zip = stream.read(4) == _ZIP_MAGIC
            stream.seek(0)
            data = b"" if is_zip else stream.read(max_bytes + 1)
    except OSError as e:
        raise InputError(Reason.UNREADABLE, f"{path} cannot be read: {e.strerror or e}") from e
    suffix = path.suffix.lower()
    if is_zip:
        source = _read_epub(path, max_bytes)
    elif suffix == ".epub":
        raise InputError(Reason.UNREADABLE, f"{path} is no EPUB: it does not begin as a zip archive does")
    elif suffix in (".html", ".htm", ".xhtml"):
        text, encoding = _read_html(data)
        source = Source(text, "html", encoding)
    else:
        text, encoding = decode(data)
        source = Source(one_line_end(text), "text", encoding)
    require_letters(source.text, size)
    return source


def _read_html(data: bytes) -> tuple[str, str]:
    found = _DECLARED.search(data[:4096])
    name = (found[1] or found[2]).decode() if found else None
    declared = name if name and _ENCODING_NAME.match(name) and _is_known(name) else None
    text, encoding = decode(data, declared=declared)
    return html_text(text), encoding


def _is_known(name: str) -> bool:
    try:
        codecs.lookup(name)
    except LookupError:
        return False
    return True


def _read_epub(path: Path, max_bytes: int) -> Source:
    try:
        with zipfile.ZipFile(path) as archive:
            book = _Archive(archive, max_bytes)
            texts, encodings = [], []
            for name in _spine(book):
                text, encoding = _read_html(book.read(name))
                texts.append(text)
                encodings.append(encoding)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, ValueError) as e:
        if isinstance(e, InputError):
            raise
        raise InputError(Reason.UNREADABLE, f"{path} is no readable EPUB: {e}") from e
    except RuntimeError as e:  # what zipfile raises for a password
        raise InputError(Reason.UNREADABLE, f"{path} is encrypted: {e}") from e
    return Source("\n".join(filter(None, texts)), "epub", next(iter(encodings), "utf-8"))


class _Archive:
    """A zip archive whose entries are read in memory, within limits on their number and on what they unpack to."""

    def __init__(self, archive: zipfile.ZipFile, max_bytes: int) -> None:
        self._archive, self._left, self._max_bytes = archive, max_bytes, max_bytes
        entries = archive.infolist()
        if len(entries) > _MAX_ENTRIES:
            raise InputError(Reason.TOO_LARGE, f"the EPUB has {len(entries):,} entries; at most {_MAX_ENTRIES:,}")
        for entry in entries:
            if entry.file_size > max(_FREE_BYTES, _MAX_RATIO * entry.compress_size):
                raise InputError(
                    Reason.TOO_LARGE,
                    f"the EPUB's entry {entry.filename[:80]!r} unpacks from {entry.compress_size:,} to "
                    f"{entry.file_size:,} bytes, more than {_MAX_RATIO} times: a zip bomb",
                )
        self.names = {entry.filename for entry in entries}

    def read(self, name: str, limit: int | None = None) -> bytes:
        """Return an entry's bytes, of which the archive as a whole may give no more than its limit."""
        most = min(self._left, limit or self._left)
        with self._archive.open(name) as stream:
            data = stream.read(most + 1)
        if len(data) > most:
            raise InputError(
                Reason.TOO_LARGE,
                f"the EPUB unpacks to more than {self._max_bytes:,} bytes: raise max_bytes of the books, or cut it",
            )
        self._left -= len(data)
        return data

    def elements(self, name: str) -> list[tuple[str, dict[str, str]]]:
        """Return the elements of an XML entry in order, without namespaces: (name, attributes)."""
        return xml_elements(self.read(name, _XML_BYTES))


def xml_elements(data: bytes) -> list[tuple[str, dict[str, str]]]:
    """Return the elements of an XML document; raises InputError UNREADABLE where it is none, or declares an entity."""
    found: list[tuple[str, dict[str, str]]] = []
    parser = expat.ParserCreate()
    parser.StartElementHandler = lambda tag, attributes: found.append((tag.rpartition(":")[2], attributes))

    def refuse(*_: object) -> int:
        raise InputError(Reason.UNREADABLE, "the EPUB's XML declares an entity, which no honest one needs")

    parser.EntityDeclHandler = refuse
    parser.ExternalEntityRefHandler = refuse
    try:
        parser.Parse(data, True)
    except expat.ExpatError as e:
        raise InputError(Reason.UNREADABLE, f"the EPUB's XML is broken: {e}") from e
    return found


def _spine(book: _Archive) -> list[str]:
    """Return the names of the entries that hold the text, in reading order."""
    if "META-INF/container.xml" not in book.names:
        raise InputError(Reason.UNREADABLE, "a zip archive, but no EPUB: it has no META-INF/container.xml")
    _require_open(book)
    roots = [a.get("full-path", "") for tag, a in book.elements("META-INF/container.xml") if tag == "rootfile"]
    if not roots or roots[0] not in book.names:
        raise InputError(Reason.UNREADABLE, "the EPUB names no package document that it has")
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
        raise InputError(Reason.UNREADABLE, f"the EPUB's spine names {missing[0][:80]!r}, which is not in it")
    if not names:
        raise InputError(Reason.UNREADABLE, "the EPUB's spine names no text")
    return names


def _require_open(book: _Archive) -> None:
    if "META-INF/rights.xml" in book.names or "META-INF/sinf.xml" in book.names:
        raise InputError(Reason.UNREADABLE, "the EPUB is protected (DRM): its text cannot be read")
    if "META-INF/encryption.xml" in book.names:
        elements = book.elements("META-INF/encryption.xml")
        methods = {a.get("Algorithm", "") for tag, a in elements if tag == "EncryptionMethod"}
        if methods - set(_FONT_SCRAMBLING):
            raise InputError(Reason.UNREADABLE, "the EPUB is encrypted (DRM): its text cannot be read")
