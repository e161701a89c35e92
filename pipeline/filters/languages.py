"""The filter by language: only books in one of the listed languages are kept."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.filters.filter import Rejection
from schemas.errors import Reason
from schemas.rows import SurveyRow


@dataclass(frozen=True, kw_only=True)
class LanguageFilter:
    """Keeps books in one of `languages`, or all books if none is listed. Items of other kinds have no language."""

    languages: tuple[str, ...] = ()
    """Languages of books to keep, as ISO 639 codes (en, de, ...). Default: all languages."""

    def reject(self, item: SurveyRow) -> Rejection | None:
        """See pipeline.filters.filter.Filter."""
        allowed = {name.strip().lower() for name in self.languages}
        if not allowed or item.text is None or item.text.language in allowed:
            return None
        language = item.text.language
        detail = f"language {language or 'unknown'} is not one of {', '.join(self.languages)} (--languages)"
        return Rejection(Reason.LANGUAGE, detail)
