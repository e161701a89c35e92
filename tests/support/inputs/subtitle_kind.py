"""A test-only item kind: subtitle files as documents of their own. One module, as a package outside of this project."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.kinds.kind import BaseKind, Surveyed, TokenizedDocument
from pipeline.survey.tools import SurveyTools
from pipeline.text.options import TextOptions
from pipeline.text.transcripts.reading import read_transcript
from pipeline.tokenize.config import TokenizeConfig
from pipeline.tokenize.interleave import text_document
from pipeline.tokenize.tools import TokenizeTools
from schemas.rows import SurveyRow, TextFacts


class _Subtitles(BaseKind):
    name = "subtitles"
    endings = (".srt",)

    def survey(self, path: Path, tools: SurveyTools) -> Surveyed:
        words = _text(path).split()
        return Surveyed(container="srt", text=TextFacts(encoding="utf-8"), measures={"words": float(len(words))})

    def token_fingerprint(self, row: SurveyRow, config: TokenizeConfig) -> Any:
        return config.transcripts.encoding

    def tokenize(self, path: Path, row: SurveyRow, tools: TokenizeTools) -> list[TokenizedDocument]:
        parts = zip(tools.text.encode_parts([_text(path)]), [1.0], strict=True)
        return [TokenizedDocument(document=text_document(parts, vocabulary=tools.vocabulary))]

    def texts(self, path: Path, row: SurveyRow, options: TextOptions) -> Iterator[str]:
        yield _text(path)


def _text(path: Path) -> str:
    return "\n".join(cue.text for cue in read_transcript(path).cues)


SUBTITLES = _Subtitles()
