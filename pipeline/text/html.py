"""The text of an HTML page: headings and paragraphs, one a line and a blank line between them.

Scripts, styles, navigation and forms are left out; a line break stays one. The page is parsed by lexbor (selectolax).
As in every HTML parser that follows the standard, some markup makes it take time or memory without bound (elements
nested very deep, formatting that is never closed), so a page is measured before it is parsed.
"""

from __future__ import annotations

import re
from collections import Counter

from selectolax.lexbor import LexborHTMLParser

from schemas.errors import InputError, Reason

_DROPPED = "script,style,template,noscript,nav,iframe,object,svg,form,button,select,textarea,head,rt,rp,[hidden]"
_BLOCKS = "p,div,h1,h2,h3,h4,h5,h6,li,ul,ol,dl,dt,dd,tr,table,blockquote,pre,section,article,header,footer,aside,main,figure,figcaption,hr,center,address,caption"  # noqa: E501
_BLOCK, _LINE, _CELL = "\ue000", "\ue001", "\ue002"  # private characters, taken out of the page first
_MAX_CHARS = 64 << 20
_MAX_DEPTH = 256
_MAX_FORMATTING = 16
_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]*)")
_EMPTY_ELEMENT = re.compile(r"<([a-zA-Z][a-zA-Z0-9]*)((?:\s[^<>]{0,2000})?)/>")
_VOID = set("area base br col embed hr img input link meta param source track wbr".split())  # noqa: SIM905
# Elements that another one closes, or that the end of their parent does: they may stay open in honest pages.
_CLOSED_BY_OTHERS = set(
    "p li dt dd option optgroup tr td th thead tbody tfoot colgroup rt rp a body html head".split()  # noqa: SIM905
)
_FORMATTING = set("b big code em font i s small strike strong tt u".split())  # noqa: SIM905


def html_text(page: str) -> str:
    """Return the text of an HTML or XHTML page; "" where it has none.

    Raises InputError: TOO_LARGE for a page past 64 Mi characters, UNREADABLE for one nested too deep.
    """
    page = page.translate({ord(c): None for c in (_BLOCK, _LINE, _CELL)})
    page = _EMPTY_ELEMENT.sub(_spelled_out, page)
    _require_sane(page)
    tree = LexborHTMLParser(page)
    body = tree.body
    if body is None:
        return ""
    for node in body.css(_DROPPED):
        node.decompose()
    for pre in body.css("pre"):
        for child in list(pre.traverse(include_text=True)):
            if child.tag == "-text":
                child.replace_with((child.text_content or "").replace("\n", _LINE).replace(" ", "\u00a0"))
    for node in body.css("br"):
        node.insert_before(_LINE)
    for node in body.css("td,th"):
        node.insert_after(_CELL)
    for node in body.css(_BLOCKS):
        node.insert_before(_BLOCK)
        node.insert_after(_BLOCK)
    return _laid_out(body.text(deep=True))


def _laid_out(text: str) -> str:
    text = re.sub(r"[ \t\r\n\f]+", " ", text).replace(_CELL, "\t").replace(_LINE, "\n")
    blocks = (_trimmed(block) for block in text.split(_BLOCK))
    return "\n\n".join(block for block in blocks if block) + "\n"


def _trimmed(block: str) -> str:
    lines = (line.strip(" \t").replace("\u00a0", " ").rstrip() for line in block.split("\n"))
    return "\n".join(lines).strip("\n")


def _spelled_out(match: re.Match[str]) -> str:
    """Turn XHTML's `<title/>` into `<title></title>`: to HTML it would be an element that is never closed."""
    return match[0] if match[1].lower() in _VOID else f"<{match[1]}{match[2]}></{match[1]}>"


def _require_sane(page: str) -> None:
    if len(page) > _MAX_CHARS:
        raise InputError(Reason.TOO_LARGE, f"an HTML page of {len(page):,} characters; at most {_MAX_CHARS:,}")
    opened: Counter[str] = Counter()
    depth = formatting = 0
    for slash, tag in _TAG.findall(page):
        name = tag.lower()
        if name in _VOID or name in _CLOSED_BY_OTHERS or (slash and not opened[name]):
            continue
        step = -1 if slash else 1
        opened[name] += step
        depth += step
        formatting += step if name in _FORMATTING else 0
        if depth > _MAX_DEPTH:
            raise InputError(Reason.UNREADABLE, f"an HTML page with elements nested more than {_MAX_DEPTH} deep")
        if formatting > _MAX_FORMATTING:
            raise InputError(
                Reason.UNREADABLE, f"an HTML page that leaves more than {_MAX_FORMATTING} formatting elements open"
            )
