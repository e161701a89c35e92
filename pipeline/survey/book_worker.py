"""What the survey finds about a book: its language, its numbers, the passages that are cut, its signature.

One reading of the file, and all of it: whether a book is prose, in which language, and a copy of another, its
beginning cannot tell. A passage is cut where it breaks a rule that a whole book is held to (filters/limit_table.py),
or is surely in another language than the book; around a run of words that an evaluation set has, some text is cut.
The book as a whole is then judged by the numbers of the passages that are left, and by how much was cut. A book of
one passage is judged as a whole only. Cost: 0.7 MB/s of one core.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.dedup import book_similarity as book_similarity
from pipeline.dedup.book_similarity import book_signature
from pipeline.dedup.similarity import Signature
from pipeline.filters import text_rules as book_rules
from pipeline.filters.decontamination import NGRAM_WORDS, EvaluationSets, load_sets
from pipeline.filters.filter import Rejection
from pipeline.filters.limit_filter import reject_numbers
from pipeline.filters.limit_table import DEFAULTS, TEXT_RULES
from pipeline.filters.text_rules import TextCounts
from pipeline.text.books import Book, BookConfig, kept_ranges, load_book
from pipeline.text.language import MIN_CONFIDENCE, identify_language, majority_language
from pipeline.text.passages import Passage, split_passages
from pipeline.text.words import Words, split_words
from schemas.errors import Reason

_VERSION = 1  # counts up when the same clean text would give other columns
_PASSAGE_LIMITS = {name: DEFAULTS[name] for name in TEXT_RULES}


@dataclass(frozen=True, kw_only=True)
class BookLook:
    """How the survey looks at books."""

    cut_passages: bool = True
    """Leave passages of about 2,000 words out of a book that break a rule or are in another language."""
    decontaminate: tuple[Path, ...] = ()
    """Evaluation sets, .txt or .jsonl: what shares 13 words in a row with one is left out, with
    some text around it."""

    def __post_init__(self) -> None:
        # A worker may stand in another folder.
        object.__setattr__(self, "decontaminate", tuple(Path(path).absolute() for path in self.decontaminate))


class Seen(NamedTuple):
    """One passage and what was found about it."""

    passage: Passage
    language: str
    probability: float
    words: Words
    tally: TextCounts


def book_fingerprint(config: BookConfig, look: BookLook) -> list[Any]:
    """Return what a book's row depends on beside the file."""
    sets = load_sets(look.decontaminate)
    versions = [_VERSION, book_rules.VERSION, book_similarity.VERSION]
    limits = [str(limit) for limit in _PASSAGE_LIMITS.values()]
    return [
        versions,
        config.fingerprint_fields,
        look.cut_passages,
        limits if look.cut_passages else None,
        sets and sets.sha256,
    ]


def survey_book(path: Path, config: BookConfig, look: BookLook) -> tuple[dict[str, Any], Signature]:
    """Return the columns of the survey's row of a book, and its signature.

    Raises InputError as pipeline.text.books.load_book does.
    """
    book = load_book(path, config)
    words = split_words(book.text)
    columns = look_at_text(book, words, look)
    return columns, book_signature(book.text, columns["content_id"], words)


def look_at_text(book: Book, words: Words, look: BookLook) -> dict[str, Any]:
    """Return the columns that follow from a book's clean text and its words."""
    text, sets = book.text, load_sets(look.decontaminate)
    seen = []
    for passage in split_passages(text):
        part = text[passage.start : passage.end]
        own = words.within(passage.start, passage.end)
        seen.append(Seen(passage, *identify_language(part), own, TextCounts.of(part, own)))
    language, share = majority_language((s.language, s.probability, s.tally.characters) for s in seen)
    cuts = list(_cuts(text, seen, language)) if look.cut_passages and len(seen) > 1 else []
    left_out = {cut["start"] for cut in cuts}
    kept = [s for s in seen if s.passage.start not in left_out] or seen
    prose = "".join(text[s.passage.start : s.passage.end] for s in kept)
    contaminated = list(_contaminated(words, len(text), sets)) if sets else []
    cuts = sorted([*cuts, *contaminated], key=lambda cut: (cut["start"], cut["end"]))
    measures = {
        "characters": float(len(text)),
        "words": float(len(words.hashes)),
        "passages": float(len(seen)),
        "language_share": share,
        "cut_share": _share(cuts, len(text)),
        **book.counts,
        **book_rules.measure(prose, language, TextCounts.sum(s.tally for s in kept)),
    }
    if sets is not None:
        measures["contaminated_share"] = _share(contaminated, len(text))
    return {
        "content_id": book.content_id,
        "container": book.container,
        "encoding": book.encoding,
        "language": language,
        "measures": measures,
        "cuts": cuts or None,
    }


def _cuts(text: str, seen: list[Seen], language: str | None) -> Iterator[dict[str, Any]]:
    for one in seen:
        start, end, _ = one.passage
        if verdict := _judge(text[start:end], one, language):
            yield {"start": start, "end": end, "reason": verdict.reason.value, "detail": verdict.detail}


def _contaminated(words: Words, characters: int, sets: EvaluationSets) -> Iterator[dict[str, Any]]:
    for start, end, runs in sets.ranges(words, characters):
        detail = f"shares {runs} {NGRAM_WORDS}-grams of words with an evaluation set"
        yield {"start": start, "end": end, "reason": Reason.CONTAMINATED.value, "detail": detail}


def _judge(part: str, one: Seen, language: str | None) -> Rejection | None:
    if one.language != language and one.probability >= MIN_CONFIDENCE:
        return Rejection(Reason.LANGUAGE, f"{one.language} (probability {one.probability:.2f}) in a book in {language}")
    return reject_numbers(book_rules.measure(part, language, one.tally), _PASSAGE_LIMITS)


def _share(cuts: list[dict[str, Any]], characters: int) -> float:
    ranges = [(cut["start"], cut["end"]) for cut in cuts]
    return 1 - sum(end - start for start, end in kept_ranges(characters, ranges)) / max(1, characters)
