"""Books of all formats through all stages: the tokens contain the surveyed text without its cuts."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.runtime.beam import Runner
from pipeline.runtime.job_report import JobReport
from pipeline.runtime.token_store import TokenStore
from pipeline.runtime.workspace import Workspace, read_units
from pipeline.select.config import SelectConfig
from pipeline.select.job import select_items
from pipeline.select.quarantine import write_quarantine
from pipeline.survey.config import BookSurveyConfig, SurveyConfig
from pipeline.survey.job import survey_items
from pipeline.survey.table import read_survey_unit
from pipeline.survey.worker import SurveyWorker
from pipeline.text.books import BookConfig
from pipeline.tokenize.config import TokenizeConfig
from pipeline.tokenize.job import tokenize_items
from pipeline.tokenize.text_tokenizer import text_tokenizer_of
from schemas.records import SIGNATURES
from tests.support.inputs.epubs import make_epub
from tests.support.texts import story, wrapped
from tokenizer.text.tokenizer import TextTokenizer

pytestmark = pytest.mark.slow

NONSENSE = "The clocks were striking thirteen on a cold day that had been bright. " * 300


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Books in all formats, tables of books, and files that are not books."""
    folder = tmp_path_factory.mktemp("books")
    (folder / "wrapped.txt").write_text(wrapped(story(1, 10)))
    (folder / "again.txt").write_bytes(story(1, 10).replace("\n", "\r\n").encode("utf-16"))
    (folder / "old.txt").write_bytes(story(2, 10).replace("kettle", "café").encode("cp1252"))
    (folder / "page.html").write_text("".join(f"<p>{part}</p>" for part in story(3, 10).split("\n\n")))
    text = "".join(f"<p>{part.strip()}</p>" for part in story(4, 10).split("\n\n"))
    make_epub(folder / "good.epub", {"OPS/first.xhtml": f"<html><body>{text}</body></html>"})
    make_epub(folder / "bomb.epub", {"OPS/first.xhtml": "a" * (30 << 20)})
    (folder / "binary.txt").write_bytes(bytes(range(256)))
    (folder / "mixed.md").write_text(
        f"{story(5, 60)}\n\n{NONSENSE}\n\n{story(6, 60)}\n\nWrite to me@example.org soon.\n"
    )
    (folder / "nonsense.txt").write_text(NONSENSE)
    tables = folder / "tables"
    tables.mkdir()
    (tables / "t.jsonl").write_text("\n".join(json.dumps({"text": story(n, 5), "title": f"T{n}"}) for n in (7, 8)))
    pq.write_table(pa.table({"text": [story(9, 5), None, story(10, 5)]}), tables / "t.parquet")
    return [str(folder), str(tables / "t.jsonl"), str(tables / "t.parquet")]


def run(material: list[str], out: Path, books: BookConfig, look: BookSurveyConfig) -> tuple[Workspace, list[JobReport]]:
    workspace, runner = Workspace.open(out, units=3), Runner()
    worker = SurveyWorker(workspace=workspace, config=SurveyConfig(books=look), books=books)
    config = TokenizeConfig(books=books)
    reports = [survey_items(material, workspace, worker, runner), select_items(workspace, SelectConfig(), runner)]
    model = text_tokenizer_of(workspace, None, config)
    reports.append(tokenize_items(workspace, config, model, runner))
    write_quarantine(workspace)
    return workspace, reports


def texts_of(workspace: Workspace) -> dict[str, str]:
    text, store = TextTokenizer.load(workspace.text_tokenizer), TokenStore(workspace.tokens)
    rows = store.table().to_pylist()
    return {row["uri"]: text.decode(store.read(row["unit"], row["batch"], row["row"])) for row in rows}


def test_tokens_contain_exactly_the_text_that_the_survey_kept(material: list[str], tmp_path: Path) -> None:
    workspace, reports = run(material, tmp_path / "out", BookConfig(), BookSurveyConfig())
    assert [report.items for report in reports] == [14, 14, 9]
    rejected = {Path(r["uri"]).name: r["reason"] for r in pq.read_table(workspace.quarantine.local()).to_pylist()}
    assert rejected.pop("t.parquet#row=00000001") == "unreadable"
    assert rejected == {
        "binary.txt": "not_text",
        "bomb.epub": "too_large",
        "nonsense.txt": "quality",
        "wrapped.txt": "duplicate",  # another file with the same clean text
    }
    texts = {Path(uri).name: text for uri, text in texts_of(workspace).items()}
    assert texts["again.txt"] == story(1, 10)
    assert texts["old.txt"] == story(2, 10).replace("kettle", "café")
    assert texts["page.html"] == story(3, 10)
    assert texts["good.epub"].startswith(story(4, 10))
    assert texts["t.parquet#row=00000002"] == story(10, 5)
    assert {story(7, 5), story(8, 5)} <= set(texts.values())
    rows = [row.to_row() for unit in range(3) for row in read_survey_unit(workspace, unit)]
    (mixed,) = [row for row in rows if row["uri"].endswith("mixed.md")]
    assert mixed["cuts"]
    assert len(texts["mixed.md"]) == mixed["measures"]["characters"] - sum(c["end"] - c["start"] for c in mixed["cuts"])
    assert texts["mixed.md"].count("striking thirteen") < 100

    signed = read_units(workspace.signatures, SIGNATURES)["content_id"].to_pylist()
    assert set(signed) >= {row["content_id"] for row in rows if not row["reason"]}

    masked = BookConfig(mask_pii=True)
    _, again = run(material, tmp_path / "out", masked, BookSurveyConfig())
    assert [report.new for report in again][0::2] == [14, 9]
    changed = {Path(uri).name: text for uri, text in texts_of(workspace).items()}
    assert changed.pop("mixed.md") == texts.pop("mixed.md").replace("me@example.org", "[email]")
    assert changed == texts
