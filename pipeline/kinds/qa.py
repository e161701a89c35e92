"""Question-answer files: context, questions and answers, of which only the answers contribute to the loss."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.kinds.kind import BaseKind, Surveyed, TokenizedDocument
from pipeline.text.options import TextOptions
from pipeline.text.qa import lay_out, parse_turns, plain_text, read_file, read_turns
from pipeline.tokenize.interleave import text_document
from schemas.rows import SurveyRow, TextFacts

if TYPE_CHECKING:
    from pipeline.survey.tools import SurveyTools
    from pipeline.tokenize.config import TokenizeConfig
    from pipeline.tokenize.tools import TokenizeTools


class _QuestionAnswer(BaseKind):
    name = "qa"
    endings = (".qa.json",)

    def max_bytes(self, options: TextOptions) -> int:
        """See ItemKind."""
        return options.qa.max_bytes

    def time_limit_s(self, options: TextOptions) -> float:
        """See ItemKind."""
        return options.qa.time_limit_s

    def survey(self, path: Path, tools: SurveyTools) -> Surveyed:
        """Read the whole file, so that a malformed one is rejected here."""
        content = read_file(path, tools.text.qa)
        parse_turns(content.text)
        return Surveyed(text=TextFacts(encoding=content.encoding), measures=content.counts)

    def token_fingerprint(self, row: SurveyRow, config: TokenizeConfig) -> Any:
        """See ItemKind."""
        return config.qa.fingerprint_fields

    def tokenize(self, path: Path, row: SurveyRow, tools: TokenizeTools) -> list[TokenizedDocument]:
        """See ItemKind."""
        config = tools.config.qa
        texts, weights = zip(*lay_out(read_turns(path, config), config), strict=True)
        parts = zip(tools.text.encode_parts(texts), weights, strict=True)
        return [TokenizedDocument(document=text_document(parts, vocabulary=tools.vocabulary))]

    def texts(self, path: Path, row: SurveyRow, options: TextOptions) -> Iterator[str]:
        """See ItemKind."""
        yield plain_text(read_turns(path, options.qa))


QA = _QuestionAnswer()
