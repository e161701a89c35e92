"""Templates escape what comes from data, for HTML and for terminals."""

from __future__ import annotations

from pathlib import Path

import pytest
from jinja2 import UndefinedError

from pipeline.reports.template import load_template


def test_text_from_data_is_escaped_and_a_missing_value_raises(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text("<p>{{ text }}</p>{{ number | count }}")
    page = load_template(path).render(text="<script>\x1b[2J", number=1234567)
    assert page == "<p>&lt;script&gt;\\u001b[2J</p>1,234,567"
    with pytest.raises(UndefinedError):
        load_template(path).render(number=1)
