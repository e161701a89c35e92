"""The defaults that kinds inherit, shown by a kind that defines only what it must."""

from __future__ import annotations

from pathlib import Path

from pipeline.kinds.kind import BaseKind, ItemKind, Surveyed, TokenizedDocument
from pipeline.survey.config import SurveyConfig
from pipeline.survey.tools import SurveyTools
from pipeline.text.options import TextOptions
from pipeline.tokenize.config import TokenizeConfig
from pipeline.tokenize.tools import TokenizeTools
from schemas.rows import SurveyRow


class _Minimal(BaseKind):
    name = "minimal"
    endings = (".min",)

    def survey(self, path: Path, tools: SurveyTools) -> Surveyed:
        return Surveyed(measures={"bytes": float(path.stat().st_size)})

    def tokenize(self, path: Path, row: SurveyRow, tools: TokenizeTools) -> list[TokenizedDocument]:
        raise NotImplementedError


def test_a_minimal_kind_implements_the_protocol_with_defaults() -> None:
    kind: ItemKind = _Minimal()
    row = SurveyRow(uri="a.min", kind="minimal")
    assert (kind.takes_captions, kind.takes_transcripts) == (False, False)
    assert (kind.is_text, kind.is_splittable, kind.position_unit) == (True, False, "characters")
    assert kind.similarity() is None
    assert kind.max_bytes(TextOptions()) is None
    assert kind.survey_fingerprint(SurveyTools(config=SurveyConfig(), text=TextOptions())) is None
    assert kind.token_fingerprint(row, TokenizeConfig()) is None
    assert list(kind.texts(Path("a.min"), row, TextOptions())) == []


def test_a_surveyed_item_has_no_findings_by_default() -> None:
    found = Surveyed()
    assert (found.content_id, found.visual, found.text, found.signature) == (None, None, None, None)
    assert (dict(found.measures), found.cuts) == ({}, ())
