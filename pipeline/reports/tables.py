"""The tables of the report, computed by column from the joined table of items.

A table is a function that yields `ReportTable`s, registered for a section of the page with `@table(SECTION)`. To add
one, write such a function in this module: `page.py` renders every table that is registered for a section.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.reports.funnel import Items, counts, kept_items
from pipeline.runtime.workspace import usable
from schemas.counted import counted

_MAX_ROWS = 40  # shown of a table that grows with the data
_UNSPECIFIED = "not specified"

Section = Literal["funnel", "books", "licenses"]


@dataclass(frozen=True, kw_only=True)
class ReportTable:
    """A table of formatted cells. The first `text_columns` columns hold text, the others numbers."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    text_columns: int = 1
    note: str = ""


TableFunction = Callable[[Items], Iterable[ReportTable]]
_TABLES: dict[Section, list[TableFunction]] = {}


def table(section: Section) -> Callable[[TableFunction], TableFunction]:
    """Register a function whose tables a section of the page shows, in the order of registration."""

    def register(function: TableFunction) -> TableFunction:
        _TABLES.setdefault(section, []).append(function)
        return function

    return register


def tables_of(section: Section, items: Items) -> list[ReportTable]:
    """Return the tables of a section."""
    return [made for function in _TABLES.get(section, ()) for made in function(items)]


@table("funnel")
def kinds_table(items: Items) -> Iterator[ReportTable]:
    """Yield how many items of each kind reached each job."""
    rows = [(kind, *_integers(*stages)) for kind, stages in items.kinds()]
    columns = ("kind", "listed", "usable", "selected", "tokenized")
    yield ReportTable(title="By kind", columns=columns, rows=tuple(rows))


@table("funnel")
def transcripts_table(items: Items) -> Iterator[ReportTable]:
    """Yield the cues in the tokenized documents, and those that were left out, if there are any."""
    documents = usable(items.tokenized)
    sums = [("cues", "sum"), ("cues_outside", "sum")]
    found = documents.group_by("split").aggregate(sums).sort_by("split").to_pylist()
    rows = [(row["split"], *_integers(row["cues_sum"], row["cues_outside_sum"])) for row in found]
    if any(row["cues_sum"] or row["cues_outside_sum"] for row in found):
        columns = ("split", "cues", "cues outside their videos, left out")
        yield ReportTable(title="Transcripts", columns=columns, rows=tuple(rows))


@table("funnel")
def datasets_table(items: Items) -> Iterator[ReportTable]:
    """Yield the size and fill of each packed dataset."""
    rows = []
    for name, dataset in items.datasets.items():
        for split, card in sorted(dataset.card.splits.items()):
            sizes = _integers(card.sequences, dataset.card.context_length, card.tokens)
            text = f"{card.text_tokens / card.tokens:.1%}" if card.tokens else "-"
            rows.append((name, split, *sizes, text, f"{card.fill:.2%}", f"{card.best_fill:.2%}"))
    notes = [mixture_of(name, dataset.card.mixture) for name, dataset in items.datasets.items()]
    notes += [f"Unfinished: {', '.join(items.unfinished)}"] if items.unfinished else []
    note = " ".join(filter(None, notes))
    columns = ("dataset", "split", "sequences", "context", "tokens", "of them text", "fill", "best possible fill")
    yield ReportTable(title="Datasets", columns=columns, rows=tuple(rows), text_columns=2, note=note)


def mixture_of(name: str, mixture: Mapping[str, Any]) -> str:
    """Return the options of a mixture that select or repeat documents as a sentence; "" without any."""
    chosen = {option: value for option, value in mixture.items() if value not in (None, {}, [], (), 0, 1, 1.0, "")}
    return f"Mixture of {name}: {', '.join(f'{option} {value}' for option, value in chosen.items())}." if chosen else ""


@table("licenses")
def licenses_table(items: Items) -> Iterator[ReportTable]:
    """Yield the items and the kept amounts of each license and source."""
    joined = with_durations_and_words(items.surveyed)
    kept = pc.and_(joined["judged"], pc.is_null(joined["reason"]))
    for name in ("license", "source"):
        joined = _fill(joined, name)
    for name in ("video_s", "words"):
        joined = joined.append_column(f"{name}_kept", pc.if_else(kept, joined[name], 0.0))
    joined = joined.append_column("kept", kept.cast(pa.int64()))
    sums = [("uri", "count"), ("kept", "sum"), ("video_s_kept", "sum"), ("words_kept", "sum")]
    found = joined.group_by(["license", "source"]).aggregate(sums)
    found = found.sort_by([("uri_count", "descending"), ("license", "ascending"), ("source", "ascending")])
    rows = []
    for row in found.slice(0, _MAX_ROWS).to_pylist():
        amounts = _amounts(row["video_s_kept_sum"], row["words_kept_sum"])
        rows.append((row["license"], row["source"], *_integers(row["uri_count"], row["kept_sum"]), *amounts))
    columns = ("license", "source", "items", "kept", "video kept", "words kept")
    title, note = "Licenses and sources", _truncation_note(len(found))
    yield ReportTable(title=title, columns=columns, rows=tuple(rows), text_columns=2, note=note)


@table("licenses")
def splits_table(items: Items) -> Iterator[ReportTable]:
    """Yield the kept items, documents and tokens of each kind in each split."""
    kept = with_durations_and_words(kept_items(items.surveyed))
    documents = usable(items.tokenized)
    tokens = {
        (row["split"], row["kind"]): (row["length_count"], row["length_sum"])
        for row in documents.group_by(["split", "kind"]).aggregate([("length", "count"), ("length", "sum")]).to_pylist()
    }
    amounts = kept.group_by(["split", "kind"]).aggregate([("uri", "count"), ("video_s", "sum"), ("words", "sum")])
    rows = []
    for row in amounts.sort_by([("split", "ascending"), ("kind", "ascending")]).to_pylist():
        number, length = tokens.get((row["split"], row["kind"]), (0, 0))
        size = _amounts(row["video_s_sum"], row["words_sum"])
        rows.append((row["split"], row["kind"], *_integers(row["uri_count"]), *size, *_integers(number, length)))
    columns = ("split", "kind", "items", "video", "words of books", "documents", "tokens")
    yield ReportTable(title="Splits", columns=columns, rows=tuple(rows), text_columns=2)


@table("books")
def languages_and_encodings(items: Items) -> Iterator[ReportTable]:
    """Yield the number of books in each language and encoding."""
    books = items.surveyed.filter(pc.is_valid(items.surveyed["encoding"]))
    for title, name in (("Languages", "language"), ("Encodings", "encoding")):
        found = counts(pc.fill_null(books[name], _UNSPECIFIED))
        kept = _fill(with_durations_and_words(kept_items(books)), name)
        sums = kept.group_by([name]).aggregate([("uri", "count"), ("words", "sum")]).to_pylist()
        kept_by_value = {row[name]: (row["uri_count"], row["words_sum"]) for row in sums}
        rows = [
            (value, *_integers(number, *kept_by_value.get(value, (0, 0.0))))
            for value, number in list(found.items())[:_MAX_ROWS]
        ]
        columns = (name, "books", "kept", "words kept")
        yield ReportTable(title=title, columns=columns, rows=tuple(rows), note=_truncation_note(len(found)))


@table("books")
def removed_text_table(items: Items) -> Iterator[ReportTable]:
    """Yield how much text was removed from the kept books, by reason."""
    books = items.surveyed.filter(pc.is_valid(items.surveyed["encoding"]))
    cuts = kept_items(books)["cuts"].combine_chunks()
    flat, book = cuts.flatten(), pc.list_parent_indices(cuts)
    size = pc.subtract(flat.field("end"), flat.field("start"))
    ranges = pa.table({"reason": flat.field("reason"), "book": book, "size": size})
    found = ranges.group_by("reason").aggregate([("book", "count_distinct"), ("size", "count"), ("size", "sum")])
    found = found.sort_by([("size_sum", "descending"), ("reason", "ascending")])
    rows = [
        (row["reason"], *_integers(row["book_count_distinct"], row["size_count"], row["size_sum"]))
        for row in found.slice(0, _MAX_ROWS).to_pylist()
    ]
    columns, note = ("reason", "books", "places", "characters"), _truncation_note(len(found))
    yield ReportTable(title="Text removed from kept books", columns=columns, rows=tuple(rows), note=note)


def with_durations_and_words(items: pa.Table) -> pa.Table:
    """Append `video_s`, the duration of a video, and `words`, of a book without its cuts; 0 for other kinds."""
    seconds = pc.fill_null(items["duration_s"], 0.0)
    words, characters = (_measure(items, name) for name in ("words", "characters"))
    share = np.clip(1 - cut_characters(items["cuts"]) / np.where(characters > 0, characters, np.inf), 0, 1)
    return items.append_column("video_s", seconds).append_column("words", pa.array(words * share))


def cut_characters(cuts: pa.ChunkedArray) -> NDArray[np.int64]:
    """Return the number of characters that the cuts of each row remove; cuts are sorted and may overlap."""
    column = cuts.combine_chunks()
    flat, row = column.flatten(), pc.list_parent_indices(column).to_numpy()
    start, end = (flat.field(name).to_numpy() for name in ("start", "end"))
    stride = int(end.max(initial=0)) + 1
    furthest_end = np.maximum.accumulate(end + row * stride)  # offset by row, so that rows do not affect each other
    previous_end = np.concatenate([[0], furthest_end])[:-1] - row * stride  # negative at the first cut of a row
    removed = np.maximum(0, end - np.maximum(start, previous_end))
    return np.bincount(row, removed, minlength=len(column)).astype(np.int64)


def duration(seconds: float) -> str:
    """Format a duration in its two largest units."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60} min"


def _measure(items: pa.Table, name: str) -> NDArray[np.float64]:
    found = [pc.fill_null(pc.map_lookup(chunk, name, "first"), 0.0) for chunk in items["measures"].chunks]
    return np.asarray(pa.chunked_array(found, pa.float64()).to_numpy())


def _fill(items: pa.Table, name: str) -> pa.Table:
    return items.set_column(items.column_names.index(name), name, pc.fill_null(items[name], _UNSPECIFIED))


def _amounts(seconds: float, words: float) -> tuple[str, str]:
    return duration(seconds), f"{words:,.0f}"


def _integers(*numbers: float) -> list[str]:
    return [f"{number:,.0f}" for number in numbers]


def _truncation_note(rows: int) -> str:
    return f"{counted(rows - _MAX_ROWS, 'more row')} not shown." if rows > _MAX_ROWS else ""
