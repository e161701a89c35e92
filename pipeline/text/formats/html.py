"""HTML: the headings and paragraphs of a page, one per line, with a blank line between them.

Scripts, styles, navigation and forms are removed; line breaks are kept. Pages are parsed with lexbor (selectolax). As
in every HTML parser that follows the standard, some markup takes unbounded time or memory (very deep nesting,
formatting elements that are never closed), so these are limited before a page is parsed.
"""

from __future__ import annotations

import codecs
import re
from collections import Counter
from pathlib import Path

from selectolax.lexbor import LexborHTMLParser

from pipeline.text.encoding import Decoded, decode
from pipeline.text.formats.source_text import SourceText, read_bytes
from schemas.deadline import checked, checkpoint
from schemas.errors import InputError, Reason

_DROPPED = "script,style,template,noscript,nav,iframe,object,svg,form,button,select,textarea,head,rt,rp,[hidden]"
_BLOCKS = "p,div,h1,h2,h3,h4,h5,h6,li,ul,ol,dl,dt,dd,tr,table,blockquote,pre,section,article,header,footer,aside,main,figure,figcaption,hr,center,address,caption"  # noqa: E501
_BLOCK, _LINE, _CELL = "\ue000", "\ue001", "\ue002"  # private-use characters, removed from the page first
_MARKS = re.compile(f"[{_BLOCK}{_LINE}{_CELL}]")
_MAX_CHARS = 64 << 20
_MAX_TAGS = 4_000_000  # a tag takes up to 330 bytes of memory
_MAX_DEPTH = 256
_MAX_ATTRIBUTES = 256
_MAX_ROOTS = 64
_ROOT_TAG = re.compile(r"<(?:html|body)\b", re.I)
_MAX_FORMATTING = 16
_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]*)")
_EMPTY_ELEMENT = re.compile(r"<([a-zA-Z][a-zA-Z0-9]*)((?:\s[^<>]{0,2000})?)/>")
_VOID = set("area base br col embed hr img input link meta param source track wbr".split())  # noqa: SIM905
# Elements that are closed implicitly by others or by the end of their parent: valid pages leave them open.
_CLOSED_BY_OTHERS = set(
    "p li dt dd option optgroup tr td th thead tbody tfoot colgroup rt rp a body html head".split()  # noqa: SIM905
)
# A start tag as the standard tokenizes it. Possessive quantifiers keep its cost linear.
_ATTRIBUTE = r"""[^\s/>][^\s/>=]*+(?:\s*+=\s*+(?:"[^"]*+"|'[^']*+'|[^\s>"'][^\s>]*+))?+"""
_START_TAG = re.compile(rf"<[a-zA-Z][^\s/>]*+(?:[\s/]++|{_ATTRIBUTE})*+")
_ATTRIBUTES = re.compile(_ATTRIBUTE)
_FORMATTING = set("b big code em font i s small strike strong tt u".split())  # noqa: SIM905


_DECLARED = re.compile(
    rb"""<\?xml[^>]{0,200}?encoding\s*=\s*["']([\w.:-]{1,40})|<meta[^>]{0,400}?charset\s*=\s*["']?([\w.:-]{1,40})""",
    re.I,
)
_ENCODING_NAME = re.compile("ascii|us-ascii|utf|iso-?8859|windows-?125|cp|koi8|big5|gb|euc|shift|latin|mac|tis", re.I)


def read_html(path: Path, max_bytes: int) -> SourceText:
    """Return the text of an HTML file. Raises InputError as `html_text`, and NOT_TEXT as `decode_page`."""
    page = decode_page(read_bytes(path, max_bytes + 1))
    return SourceText(html_text(page.text), "html", page.encoding, page.counts)


def decode_page(data: bytes) -> Decoded:
    """Decode a page, with the encoding that it declares where it is not UTF-8. Raises InputError NOT_TEXT."""
    found = _DECLARED.search(data[:4096])
    name = (found[1] or found[2]).decode() if found else None
    declared = name if name and _ENCODING_NAME.match(name) and _is_known(name) else None
    return decode(data, declared=declared)


def _is_known(encoding: str) -> bool:
    try:
        codecs.lookup(encoding)
    except LookupError:
        return False
    return True


def html_text(page: str) -> str:
    """Return the text of an HTML or XHTML page; "" where it has none.

    Raises InputError: TOO_LARGE beyond 64 Mi characters, UNREADABLE for a page that is nested too deep.
    """
    page = _MARKS.sub("", page)
    page = _EMPTY_ELEMENT.sub(_with_end_tag, page)
    _require_limits(page)
    _require_few_attributes(page)
    checkpoint()
    tree = LexborHTMLParser(page)
    body = tree.body
    if body is None:
        return ""
    for node in checked(body.css(_DROPPED)):
        node.decompose()
    for pre in body.css("pre"):
        for child in list(pre.traverse(include_text=True)):
            if child.tag == "-text":
                child.replace_with((child.text_content or "").replace("\n", _LINE).replace(" ", "\u00a0"))
    for node in checked(body.css("br")):
        node.insert_before(_LINE)
    for node in checked(body.css("td,th")):
        node.insert_after(_CELL)
    for node in checked(body.css(_BLOCKS)):
        node.insert_before(_BLOCK)
        node.insert_after(_BLOCK)
    return _laid_out(body.text(deep=True))


def _laid_out(text: str) -> str:
    checkpoint()
    text = re.sub(r"[ \t\r\n\f]+", " ", text).replace(_CELL, "\t").replace(_LINE, "\n")
    blocks = (_trimmed(block) for block in checked(text.split(_BLOCK)))
    return "\n\n".join(block for block in blocks if block) + "\n"


def _trimmed(block: str) -> str:
    lines = (line.strip(" \t").replace("\u00a0", " ").rstrip() for line in block.split("\n"))
    return "\n".join(lines).strip("\n")


def _with_end_tag(match: re.Match[str]) -> str:
    """Rewrite XHTML's `<title/>` as `<title></title>`; an HTML parser would treat it as never closed."""
    return match[0] if match[1].lower() in _VOID else f"<{match[1]}{match[2]}></{match[1]}>"


def _require_few_attributes(page: str) -> None:
    """Raise InputError UNREADABLE for elements whose attributes take quadratic time, as each is compared with all."""
    if len(_ROOT_TAG.findall(page)) > _MAX_ROOTS:  # the attributes of repeated ones are added to the first
        raise InputError(Reason.UNREADABLE, f"the HTML page has more than {_MAX_ROOTS} html and body elements")
    for match in checked(_START_TAG.finditer(page)):
        if match.end() - match.start() > 2 * _MAX_ATTRIBUTES and _attributes(match[0]) > _MAX_ATTRIBUTES:
            raise InputError(
                Reason.UNREADABLE, f"the HTML page has an element with more than {_MAX_ATTRIBUTES} attributes"
            )


def _attributes(tag: str) -> int:
    return len(_ATTRIBUTES.findall(tag)) - 1  # the first is the name of the tag


def _require_limits(page: str) -> None:
    if len(page) > _MAX_CHARS:
        raise InputError(Reason.TOO_LARGE, f"the HTML page has {len(page):,} characters; the limit is {_MAX_CHARS:,}")
    if (tags := page.count("<")) > _MAX_TAGS:
        raise InputError(Reason.MEMORY, f"the HTML page has {tags:,} tags, the limit is {_MAX_TAGS:,}; split the file")
    opened: Counter[str] = Counter()
    depth = formatting = 0
    for match in checked(_TAG.finditer(page)):
        slash, name = match[1], match[2].lower()
        if name in _VOID or name in _CLOSED_BY_OTHERS or (slash and not opened[name]):
            continue
        step = -1 if slash else 1
        opened[name] += step
        depth += step
        formatting += step if name in _FORMATTING else 0
        if depth > _MAX_DEPTH:
            raise InputError(Reason.UNREADABLE, f"the HTML page has elements nested more than {_MAX_DEPTH} deep")
        if formatting > _MAX_FORMATTING:
            raise InputError(
                Reason.UNREADABLE, f"the HTML page leaves more than {_MAX_FORMATTING} formatting elements open"
            )
