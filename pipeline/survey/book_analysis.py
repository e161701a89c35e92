"""Survey of a book: language, measures, cuts and signature, all from one reading of its clean text.

The whole text is read, since its start alone does not tell whether a book is prose, in which language, and whether it
copies another book. It is divided into passages of about 2,000 words. A passage is cut if it fails a quality rule
(limits as for whole books, `pipeline.filters.limit_table`) or is clearly in another language than the book; around
words that an evaluation set contains, some context is cut. The measures of the book are those of the passages that
remain. A book of one passage is judged as a whole only. Cost: 0.7 MB/s of one core.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.dedup import book_similarity
from pipeline.dedup.book_similarity import book_signature
from pipeline.filters import text_rules
from pipeline.filters.decontamination import NGRAM_WORDS, EvaluationSets, load_sets
from pipeline.filters.filter import Rejection
from pipeline.filters.limit_filter import reject_numbers
from pipeline.filters.limit_table import DEFAULTS, TEXT_RULES
from pipeline.filters.text_rules import TextCounts
from pipeline.kinds.kind import Samples, Surveyed
from pipeline.survey.config import BookSurveyConfig
from pipeline.text.books import Book, BookConfig, kept_ranges, load_book
from pipeline.text.language import MIN_CONFIDENCE, are_alike, identify_language, majority_language
from pipeline.text.memory import most_words, too_large
from pipeline.text.passages import Passage, split_passages
from pipeline.text.words import TooManyWords, Words, split_words
from schemas.deadline import checked
from schemas.errors import Reason
from schemas.rows import Cut, TextFacts

_VERSION = 1  # increment when the same clean text gives other results
_PASSAGE_LIMITS = {name: DEFAULTS[name] for name in TEXT_RULES}


class AnalyzedPassage(NamedTuple):
    """One passage with its language and the counts for the quality rules."""

    passage: Passage
    language: str
    probability: float  # of the language
    words: Words
    tally: TextCounts


def book_fingerprint(config: BookConfig, survey: BookSurveyConfig) -> list[Any]:
    """Return the settings and versions that the survey of a book depends on."""
    sets = load_sets(survey.decontaminate)
    versions = [_VERSION, text_rules.VERSION, book_similarity.VERSION]
    limits = [str(limit) for limit in _PASSAGE_LIMITS.values()]
    return [
        versions,
        config.fingerprint_fields,
        survey.cut_passages,
        limits if survey.cut_passages else None,
        sets and sets.sha256,
    ]


def survey_book(path: Path, config: BookConfig, survey: BookSurveyConfig) -> Surveyed:
    """Return what the survey finds about a book; raises InputError as `pipeline.text.books.load_book`."""
    book = load_book(path, config)
    try:
        words = split_words(book.text, most=most_words(book.text, config.max_memory))
    except TooManyWords as e:
        raise too_large(book.text, config.max_memory) from e
    return analyze_text(book, words, survey)


def analyze_text(book: Book, words: Words, survey: BookSurveyConfig) -> Surveyed:
    """Return what follows from the clean text of a book and its words."""
    text, sets = book.text, load_sets(survey.decontaminate)
    passages = list(_analyze_passages(text, words))
    language, share = majority_language((p.language, p.probability, p.tally.characters) for p in passages)
    cuts = list(_cut_passages(text, passages, language)) if survey.cut_passages and len(passages) > 1 else []
    cut_starts = {cut.start for cut in cuts}
    kept = [p for p in passages if p.passage.start not in cut_starts] or passages
    prose = "".join(text[p.passage.start : p.passage.end] for p in kept)
    contaminated = list(_contaminated(words, len(text), sets)) if sets else []
    cuts = sorted([*cuts, *contaminated], key=lambda cut: (cut.start, cut.end))
    measures = {
        "characters": float(len(text)),
        "words": float(len(words.hashes)),
        "passages": float(len(passages)),
        "language_share": share,
        "cut_share": _share(cuts, len(text)),
        **book.counts,
        **text_rules.measure(prose, language, TextCounts.sum(p.tally for p in kept)),
    }
    if sets is not None:
        measures["contaminated_share"] = _share(contaminated, len(text))
    return Surveyed(
        content_id=book.content_id,
        container=book.container,
        text=TextFacts(encoding=book.encoding, language=language),
        measures=measures,
        cuts=tuple(cuts),
        signature=_samples(text, book.content_id, words),
    )


def _analyze_passages(text: str, words: Words) -> Iterator[AnalyzedPassage]:
    for passage in checked(split_passages(text), every=16):
        part = text[passage.start : passage.end]
        own = words.within(passage.start, passage.end)
        yield AnalyzedPassage(passage, *identify_language(part), own, TextCounts.of(part, own))


def _samples(text: str, content_id: str, words: Words) -> Samples:
    signature = book_signature(text, content_id, words)
    return Samples(starts=signature.starts.tolist(), lengths=signature.lengths.tolist(), samples=signature.samples)


def _cut_passages(text: str, passages: list[AnalyzedPassage], language: str | None) -> Iterator[Cut]:
    for analyzed in checked(passages, every=16):
        start, end, _ = analyzed.passage
        if rejection := _judge(text[start:end], analyzed, language):
            yield Cut(start, end, rejection.reason.value, rejection.detail)


def _contaminated(words: Words, characters: int, sets: EvaluationSets) -> Iterator[Cut]:
    for start, end, runs in sets.ranges(words, characters):
        detail = f"shares {runs} {NGRAM_WORDS}-grams of words with an evaluation set"
        yield Cut(start, end, Reason.CONTAMINATED.value, detail)


def _judge(part: str, passage: AnalyzedPassage, language: str | None) -> Rejection | None:
    if not are_alike(passage.language, language) and passage.probability >= MIN_CONFIDENCE:
        return Rejection(
            Reason.LANGUAGE, f"{passage.language} (probability {passage.probability:.2f}) in a book in {language}"
        )
    return reject_numbers(text_rules.measure(part, language, passage.tally), _PASSAGE_LIMITS)


def _share(cuts: list[Cut], characters: int) -> float:
    ranges = [(cut.start, cut.end) for cut in cuts]
    return 1 - sum(end - start for start, end in kept_ranges(characters, ranges)) / max(1, characters)
