"""Templates of HTML pages that show text from data: it is escaped for HTML and for terminals."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from schemas.printable import printable


@functools.cache
def load_template(path: Path) -> Template:
    """Return a template; it may include others of its folder, and has the filter `count` for numbers."""
    environment = Environment(
        loader=FileSystemLoader(path.parent),
        autoescape=True,
        finalize=_printable,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["count"] = lambda number: f"{number:,}"
    return environment.get_template(path.name)


def _printable(value: Any) -> Any:
    """Spell out control and bidirectional characters in strings from data; leave markup as it is."""
    return printable(value) if type(value) is str else value
