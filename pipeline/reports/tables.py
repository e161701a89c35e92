"""The report's tables: splits, licenses and sources, books. Each is counted by columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.reports.funnel import Items, counts, going_on
from pipeline.runtime.workspace import usable

_ROWS = 40  # of a table that grows with the data
_NONE = "not told"


@dataclass(frozen=True, kw_only=True)
class Listing:
    """A table of text: a heading, the names of its columns, and its rows. The first `words` columns are no numbers."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: int = 1
    note: str = ""


def splits_table(items: Items) -> Listing:
    """Return what each split holds of each kind."""
    on = with_amounts(going_on(items.surveyed))
    made = usable(items.tokenized)
    tokens = {
        (row["split"], row["kind"]): (row["length_count"], row["length_sum"])
        for row in made.group_by(["split", "kind"]).aggregate([("length", "count"), ("length", "sum")]).to_pylist()
    }
    amounts = on.group_by(["split", "kind"]).aggregate([("uri", "count"), ("video_s", "sum"), ("words", "sum")])
    rows = []
    for row in amounts.sort_by([("split", "ascending"), ("kind", "ascending")]).to_pylist():
        documents, length = tokens.get((row["split"], row["kind"]), (0, 0))
        amount = _amounts(row["video_s_sum"], row["words_sum"])
        rows.append((row["split"], row["kind"], f"{row['uri_count']:,}", *amount, f"{documents:,}", f"{length:,}"))
    columns = ("split", "kind", "items", "video", "words of books", "documents", "tokens")
    return Listing(title="Splits", columns=columns, rows=tuple(rows), words=2)


def licenses_table(items: Items) -> Listing:
    """Return how much there is, and how much goes on, under each license from each source."""
    table = with_amounts(items.surveyed)
    going = pc.and_(table["judged"], pc.is_null(table["reason"]))
    for name in ("license", "source"):
        table = table.set_column(table.column_names.index(name), name, pc.fill_null(table[name], _NONE))
    for name in ("video_s", "words"):
        table = table.append_column(f"{name}_on", pc.if_else(going, table[name], 0.0))
    table = table.append_column("on", going.cast(pa.int64()))
    sums = [("uri", "count"), ("on", "sum"), ("video_s_on", "sum"), ("words_on", "sum")]
    found = table.group_by(["license", "source"]).aggregate(sums)
    found = found.sort_by([("uri_count", "descending"), ("license", "ascending"), ("source", "ascending")])
    rows = []
    for row in found.slice(0, _ROWS).to_pylist():
        amount = _amounts(row["video_s_on_sum"], row["words_on_sum"])
        rows.append((row["license"], row["source"], *_number(row["uri_count"], row["on_sum"]), *amount))
    columns = ("license", "source", "items", "go on", "video that goes on", "words that go on")
    return Listing(title="Licenses and sources", columns=columns, rows=tuple(rows), words=2, note=_more(len(found)))


def books_tables(items: Items) -> Iterator[Listing]:
    """Yield what there is of books: languages, encodings, and what is cut out of them."""
    books = items.surveyed.filter(pc.equal(items.surveyed["kind"], "book"))
    going = going_on(books)
    for title, name in (("Languages", "language"), ("Encodings", "encoding")):
        found = counts(pc.fill_null(books[name], _NONE))
        on = with_amounts(going)
        on = on.set_column(on.column_names.index(name), name, pc.fill_null(on[name], _NONE))
        sums = on.group_by([name]).aggregate([("uri", "count"), ("words", "sum")]).to_pylist()
        kept = {row[name]: (row["uri_count"], row["words_sum"]) for row in sums}
        rows = [
            (value, *_number(n, kept.get(value, (0, 0.0))[0], kept.get(value, (0, 0.0))[1]))
            for value, n in list(found.items())[:_ROWS]
        ]
        yield Listing(
            title=title,
            columns=(name, "books", "go on", "words that go on"),
            rows=tuple(rows),
            note=_more(len(found)),
        )
    yield _cuts_table(going)


def _cuts_table(going: pa.Table) -> Listing:
    cuts = going["cuts"].combine_chunks()
    flat = cuts.flatten()
    of = pc.list_parent_indices(cuts)
    size = pc.subtract(flat.field("end"), flat.field("start"))
    table = pa.table({"reason": flat.field("reason"), "book": of, "size": size})
    found = table.group_by("reason").aggregate([("book", "count_distinct"), ("size", "count"), ("size", "sum")])
    found = found.sort_by([("size_sum", "descending"), ("reason", "ascending")])
    rows = [
        (row["reason"], *_number(row["book_count_distinct"], row["size_count"], row["size_sum"]))
        for row in found.slice(0, _ROWS).to_pylist()
    ]
    columns = ("reason", "books", "places", "characters")
    return Listing(title="Left out of books that go on", columns=columns, rows=tuple(rows), note=_more(len(found)))


def with_amounts(table: pa.Table) -> pa.Table:
    """Add the columns `video_s` and `words`: seconds of a video, words of a book without its cuts; 0 of all else."""
    seconds = pc.if_else(pc.equal(table["kind"], "video"), pc.fill_null(table["duration_s"], 0.0), 0.0)
    words, characters = (_measure(table, name) for name in ("words", "characters"))
    kept = np.clip(1 - cut_characters(table["cuts"]) / np.where(characters > 0, characters, np.inf), 0, 1)
    return table.append_column("video_s", seconds).append_column("words", pa.array(words * kept))


def cut_characters(cuts: pa.ChunkedArray) -> NDArray[np.int64]:
    """Return for each row how many characters its cuts (in order, they may overlap) take away."""
    column = cuts.combine_chunks()
    flat, row = column.flatten(), pc.list_parent_indices(column).to_numpy()
    start, end = (flat.field(name).to_numpy() for name in ("start", "end"))
    stride = int(end.max(initial=0)) + 1
    reached = np.maximum.accumulate(end + row * stride)  # each row has a stretch of its own
    before = np.concatenate([[0], reached])[:-1] - row * stride  # below 0 where it is another row's
    taken = np.maximum(0, end - np.maximum(start, before))
    return np.bincount(row, taken, minlength=len(column)).astype(np.int64)


def _measure(table: pa.Table, name: str) -> NDArray[np.float64]:
    found = [pc.fill_null(pc.map_lookup(chunk, name, "first"), 0.0) for chunk in table["measures"].chunks]
    return np.asarray(pa.chunked_array(found, pa.float64()).to_numpy())


def _amounts(seconds: float, words: float) -> tuple[str, str]:
    return duration(seconds), f"{words:,.0f}"


def duration(seconds: float) -> str:
    """Return a time in its two largest units."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60} min"


def _number(*numbers: float) -> Sequence[str]:
    return [f"{number:,.0f}" for number in numbers]


def _more(rows: int) -> str:
    return f"{rows - _ROWS:,} more are not shown" if rows > _ROWS else ""


def kinds_table(items: Items) -> Listing:
    """Return how far the items of each kind came."""
    rows = [(kind, *_number(*stages)) for kind, stages in items.kinds()]
    return Listing(title="By kind", columns=("kind", "listed", "usable", "selected", "tokenized"), rows=tuple(rows))


def datasets_table(items: Items) -> Listing:
    """Return what each packed dataset holds."""
    rows = []
    for name, dataset in items.datasets.items():
        for split, card in sorted(dataset.card.splits.items()):
            facts = (f"{card.sequences:,}", f"{dataset.card.context_length:,}", f"{card.tokens:,}", f"{card.fill:.2%}")
            rows.append((name, split, *facts))
    note = f"unfinished: {', '.join(items.unfinished)}" if items.unfinished else ""
    columns = ("dataset", "split", "sequences", "context", "tokens", "fill")
    return Listing(title="Datasets", columns=columns, rows=tuple(rows), words=2, note=note)
