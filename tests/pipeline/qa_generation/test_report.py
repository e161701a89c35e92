from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pipeline.qa_generation.filters import Rejection
from pipeline.qa_generation.report import PAGE, write_report
from tests.pipeline.qa_generation.test_documents import PAIR


def test_the_page_has_kept_pairs_and_rejections_with_an_example_and_escapes_them(tmp_path: Path) -> None:
    pairs = [
        replace(PAIR, question="<b>who</b>?"),
        replace(PAIR, question="first", rejection=Rejection.REFUSAL),
        replace(PAIR, question="second", rejection=Rejection.REFUSAL),
    ]
    summary = {
        "model": "m",
        "questions": 4,
        "not_asked": 1,
        "kept": 1,
        "rejected": {"refusal": 2},
        "documents": 1,
    }
    write_report(tmp_path, summary, pairs)
    page = (tmp_path / PAGE).read_text()
    assert "&lt;b&gt;who&lt;/b&gt;?" in page
    assert "first" in page
    assert "second" not in page
    assert "50.0 %" in page
    assert "1 were not asked yet" in page
