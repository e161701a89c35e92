"""Small EPUBs for tests."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

CONTAINER = """<?xml version="1.0"?><container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container">
<rootfiles><rootfile full-path="OPS/book.opf" media-type="application/oebps-package+xml"/></rootfiles></container>"""
OPF = """<?xml version="1.0"?><package xmlns="http://www.idpf.org/2007/opf" version="3.0"><manifest>
<item id="nav" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/>
<item id="two" href="second%20part.xhtml" media-type="application/xhtml+xml"/>
<item id="one" href="first.xhtml" media-type="application/xhtml+xml"/>
<item id="css" href="a.css" media-type="text/css"/><item id="notes" href="n.xhtml" media-type="application/xhtml+xml"/>
</manifest><spine><itemref idref="nav"/><itemref idref="one"/><itemref idref="two"/>
<itemref idref="notes" linear="no"/></spine></package>"""
FIRST = """<?xml version="1.0" encoding="utf-8"?><html xmlns="http://www.w3.org/1999/xhtml"><head><title/>
<style>p {color: red}</style></head><body><h1>Chapter&#160;One</h1><p>Call me <i>Ishmael</i>.
Some years ago<br/>I went to sea.</p><script>alert("no")</script></body></html>"""
SECOND = "<html><body><h2>Two</h2><p>The caf\u00e9 &amp; the sea.</p></body></html>"
PARTS = {
    "mimetype": "application/epub+zip",
    "META-INF/container.xml": CONTAINER,
    "OPS/book.opf": OPF,
    "OPS/first.xhtml": FIRST,
    "OPS/second part.xhtml": SECOND,
    "OPS/nav.xhtml": "<html><body><nav>Contents</nav></body></html>",
    "OPS/n.xhtml": "<html><body><p>a note</p></body></html>",
}


def make_epub(path: Path, changes: Mapping[str, str | bytes | None] | None = None) -> Path:
    """Write an EPUB with the entries of `PARTS`, changed by `changes`; None removes an entry."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {**PARTS, **(changes or {})}.items():
            if content is not None:
                archive.writestr(name, content)
    return path
