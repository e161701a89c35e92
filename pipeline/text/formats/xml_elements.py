"""The start tags of an XML document, in order; a damaged document gives those that can be recognized."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from html import unescape
from typing import NamedTuple
from xml.parsers import expat

from pipeline.text.formats.html import decode_page
from schemas.errors import InputError, Reason

_PAIR = r"""\s{1,100}[\w:.-]{1,60}\s{0,9}=\s{0,9}(?:"[^"<]{0,4000}"|'[^'<]{0,4000}')"""
_START_TAG = re.compile(rf"<([^\W\d][\w:.-]{{0,60}})((?:{_PAIR}){{0,20}})\s{{0,100}}/?>")
_ATTRIBUTE = re.compile(r"""([\w:.-]{1,60})\s{0,9}=\s{0,9}(?:"([^"]*)"|'([^']*)')""")


class Element(NamedTuple):
    """A start tag: its name and attributes in lower case, without namespace prefixes."""

    name: str
    attributes: Mapping[str, str]


def xml_elements(data: bytes) -> list[Element]:
    """Return the elements of a document in order.

    Raises InputError UNREADABLE for entity declarations, which can expand without limit, and NOT_TEXT for a document
    that is neither valid XML nor text.
    """
    try:
        return _of_valid_xml(data)
    except (expat.ExpatError, LookupError, ValueError):  # not well-formed, or in an encoding that expat does not know
        return list(_start_tags(decode_page(data).text))


def _of_valid_xml(data: bytes) -> list[Element]:
    found: list[Element] = []
    parser = expat.ParserCreate()
    parser.StartElementHandler = lambda tag, attributes: found.append(_element(tag, attributes))
    parser.EntityDeclHandler = _reject_entity
    parser.ExternalEntityRefHandler = _reject_entity
    parser.Parse(data, True)
    return found


def _reject_entity(*_: object) -> int:
    raise InputError(Reason.UNREADABLE, "the EPUB's XML declares an entity, which is not allowed")


def _element(tag: str, attributes: Mapping[str, str]) -> Element:
    return Element(_local(tag), {_local(name): value.strip() for name, value in attributes.items()})


def _local(name: str) -> str:
    return name.rpartition(":")[2].lower()


def _start_tags(text: str) -> Iterator[Element]:
    """Yield the well-formed start tags outside of comments, whatever is between them. Takes linear time."""
    if "<!entity" in text.lower():
        _reject_entity()
    first, *others = text.split("<!--")
    for part in (first, *(other.partition("-->")[2] for other in others)):
        for tag, attributes in _START_TAG.findall(part):
            values = {name: unescape(double or single) for name, double, single in _ATTRIBUTE.findall(attributes)}
            yield _element(tag, values)
