"""EPUB: the pages of a book in the order of its spine, without markup.

What tolerant readers accept is read: the package document is searched for where the container does not name it, and a
chapter that is missing, damaged or encrypted costs itself and is counted. A book without a readable chapter is rejected
with the reason of its first chapter. Cost: the pages are read one at a time; their texts are in memory at once.
"""

from __future__ import annotations

import re
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from pathlib import Path
from typing import NamedTuple

from pipeline.text.formats.epub_archive import EpubArchive
from pipeline.text.formats.epub_package import Chapter, read_spine
from pipeline.text.formats.html import decode_page, html_text
from pipeline.text.formats.source_text import SourceText
from pipeline.text.formats.xml_elements import Element, xml_elements
from schemas.counted import counted
from schemas.deadline import checkpoint
from schemas.errors import InputError, Reason
from schemas.record_errors import record_errors
from schemas.storage.regular import open_regular

LOST_CHAPTERS = "lost_chapters"  # measure: the number of chapters that could not be read
_ENCRYPTION = "META-INF/encryption.xml"
# Obfuscated fonts do not affect the text; any other encryption does.
_FONT_OBFUSCATION = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")
_CDATA = re.compile(r"<!\[CDATA\[(.*?)\]\]>", re.S)
_HEAD_BYTES = 4


class _Page(NamedTuple):
    text: str
    encoding: str
    counts: Mapping[str, float]  # measures of its bytes


class _Encrypted(NamedTuple):
    """The entries that META-INF/encryption.xml lists, or all where it does not tell which."""

    names: frozenset[str]
    is_all: bool = False

    def contains(self, name: str) -> bool:
        return self.is_all or name in self.names


def _encrypted(archive: EpubArchive) -> _Encrypted:
    name = archive.find(_ENCRYPTION)
    if name is None:
        return _Encrypted(frozenset())
    names: set[str] = set()
    is_all = False
    for group in _groups(xml_elements(archive.read(name)), start="encrypteddata"):
        methods = [e.attributes.get("algorithm") for e in group if e.name == "encryptionmethod"]
        if methods and methods[0] not in _FONT_OBFUSCATION:
            found = [archive.find(e.attributes.get("uri", "")) for e in group if e.name == "cipherreference"]
            names.update(filter(None, found))
            is_all = is_all or not found
    return _Encrypted(frozenset(names), is_all)


def _groups(elements: Iterable[Element], *, start: str) -> Iterator[list[Element]]:
    """Yield runs of elements that start with an element of that name."""
    group: list[Element] = []
    for element in elements:
        if element.name == start and group:
            yield group
            group = []
        group.append(element)
    yield group


def read_epub(path: Path, max_bytes: int) -> SourceText:
    """Return the text of an EPUB.

    Raises InputError: UNREADABLE (not a valid archive, no package document, encrypted), TOO_LARGE for an archive that
    unpacks to more than `max_bytes` or is a zip bomb, NOT_TEXT as pipeline.text.encoding does.
    """
    with record_errors(str(path)), open_regular(path) as file:
        try:
            archive = zipfile.ZipFile(file)
        except (zipfile.BadZipFile, ValueError) as e:
            file.seek(0)
            head = file.read(_HEAD_BYTES)
            message = f"{path} is not a readable EPUB: {e}; its first bytes are {head!r}"
            raise InputError(Reason.UNREADABLE, message) from e
        with archive:
            return _text(EpubArchive(archive, max_bytes))


def _text(archive: EpubArchive) -> SourceText:
    encrypted = _encrypted(archive)
    pages: list[_Page] = []
    errors: list[InputError] = []
    chapters = read_spine(archive)
    for chapter in chapters:
        checkpoint()
        try:
            pages.append(_read(archive, chapter, encrypted))
        except InputError as e:
            if e.reason in (Reason.TOO_LARGE, Reason.TIMEOUT):  # concerns the whole book
                raise
            errors.append(e)
    if not pages:
        message = f"the EPUB has {counted(len(chapters), 'chapter')}, and none can be read: {errors[0]}"
        raise InputError(errors[0].reason, message) from errors[0]
    text = "\n".join(page.text for page in pages if page.text)
    counts = Counter({LOST_CHAPTERS: float(len(errors))})
    for page in pages:
        counts.update(page.counts)
    return SourceText(text, "epub", pages[0].encoding, counts)


def _read(archive: EpubArchive, chapter: Chapter, encrypted: _Encrypted) -> _Page:
    if chapter.name is None:
        raise InputError(Reason.UNREADABLE, f"the spine refers to {chapter.href[:80]!r}, which is missing")
    if encrypted.contains(chapter.name):
        raise InputError(Reason.UNREADABLE, f"the entry {chapter.name[:80]!r} is encrypted (DRM)")
    page = decode_page(archive.read(chapter.name))
    text = html_text(_CDATA.sub(lambda match: escape(match[1]), page.text))
    return _Page(text, page.encoding, page.counts)
