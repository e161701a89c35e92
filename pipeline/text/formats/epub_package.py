"""The package document of an EPUB: the entries with text, in reading order."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from pipeline.text.formats.epub_archive import EpubArchive
from pipeline.text.formats.xml_elements import Element, xml_elements
from schemas.errors import InputError, Reason

_CONTAINER = "META-INF/container.xml"
_PACKAGE_TYPE = "application/oebps-package+xml"
_MAX_XML_BYTES = 16 << 20
_PAGE = re.compile(r"\.x?html?$", re.I)
# Media types are often wrong or old (text/x-oeb1-document), so that only types that are never text exclude an item.
_NO_PAGE = re.compile(
    r"image/|audio/|video/|font/|text/css|[/.-]font|javascript|application/(?:pdf|smil|x-dtbncx)"
    r"|\.(?:jpe?g|png|gif|svgz?|webp|bmp|css|js|ncx|pdf|[ot]tf|woff2?|mp[34]|smil)$",
    re.I,
)


class Chapter(NamedTuple):
    """An entry of the spine: its reference, and the name of its entry, None if it is missing."""

    href: str
    name: str | None


def read_spine(archive: EpubArchive) -> list[Chapter]:
    """Return the chapters in reading order.

    Items with linear="no" (notes, covers) are left out unless nothing else is there, and a navigation page always.
    Raises InputError UNREADABLE if there is no package document or it has no chapter.
    """
    error: InputError | None = None
    for name in dict.fromkeys(_package_names(archive)):
        try:
            elements = xml_elements(archive.read(name, _MAX_XML_BYTES))
        except InputError as e:
            error = error or e
            continue
        if chapters := _distinct(_chapter(archive, name, item) for item in _items(elements)):
            return chapters
        error = error or InputError(Reason.UNREADABLE, "the EPUB's spine contains no text")
    raise error or InputError(Reason.UNREADABLE, "the EPUB has no package document")


def _package_names(archive: EpubArchive) -> Iterator[str]:
    """Yield the names of the package documents: those that the container names, then any other."""
    if (container := archive.find(_CONTAINER)) is not None:
        roots = [e.attributes for e in _container_elements(archive, container) if e.name == "rootfile"]
        for root in sorted(roots, key=lambda a: a.get("media-type", "").lower() != _PACKAGE_TYPE):
            if (name := archive.find(root.get("full-path", ""))) is not None:
                yield name
    found = [name for name in archive.names if name.lower().endswith(".opf")]
    yield from sorted(found, key=lambda name: (name.count("/"), name))


def _container_elements(archive: EpubArchive, name: str) -> list[Element]:
    """Return the elements of the container document, none if it is damaged; raises InputError if it is an attack."""
    try:
        data = archive.read(name, _MAX_XML_BYTES)
    except InputError as e:
        if e.reason is Reason.TOO_LARGE:
            raise
        return []
    try:
        return xml_elements(data)
    except InputError as e:
        if e.reason is not Reason.NOT_TEXT:
            raise
        return []


def _items(elements: Iterable[Element]) -> list[Element]:
    """Return the items of the manifest that are chapters, in the order of the spine.

    A reference to an item that the manifest lacks is an item whose file is missing.
    """
    elements = list(elements)
    items = {e.attributes.get("id", ""): e for e in elements if e.name == "item"}
    refs = [e.attributes for e in elements if e.name == "itemref"]
    linear = [a.get("idref", "") for a in refs if a.get("linear", "").lower() != "no"]
    for order in (linear, [a.get("idref", "") for a in refs], items):
        chapters = [items.get(idref) or Element("item", {"href": f"#{idref}"}) for idref in order]
        pages = [item for item in chapters if _is_page(item)]
        if any(item in pages for item in items.values()):
            return pages
    return []


def _is_page(item: Element) -> bool:
    href, media_type = item.attributes.get("href", ""), item.attributes.get("media-type", "")
    if "nav" in item.attributes.get("properties", "").split():
        return False
    name = href.partition("#")[0]
    return bool(_PAGE.search(name)) or not (_NO_PAGE.search(media_type) or _NO_PAGE.search(name))


def _chapter(archive: EpubArchive, package: str, item: Element) -> Chapter:
    href = item.attributes.get("href", "")
    return Chapter(href, archive.find(href, folder=posixpath.dirname(package)))


def _distinct(chapters: Iterable[Chapter]) -> list[Chapter]:
    """Return each entry once: several items may refer to parts of one file."""
    return list({chapter.name or chapter.href: chapter for chapter in reversed(list(chapters))}.values())[::-1]
