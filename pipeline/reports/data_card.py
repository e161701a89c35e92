"""The data card of a dataset: README.md and README.html next to dataset.json, for people who want to use it.

It has sources, licenses with their tokens, languages, durations, splits, what was rejected and why, known limits, and
how to have an item removed. The numbers of tokens are those of the ledger; what was rejected is what the workspace
says. No address of an item is in it, and no date: the same workspace and dataset give the same bytes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.reports.funnel import Items, counts, kept_items
from pipeline.reports.names import readable
from pipeline.reports.tables import ReportTable, duration, mixture_of, with_durations_and_words
from pipeline.reports.template import load_template
from pipeline.runtime.workspace import Workspace, usable
from schemas.counted import counted
from schemas.dataset import DatasetCard, read_card
from schemas.dataset_files import LEDGER, README, README_PAGE
from schemas.errors import DatasetError
from schemas.printable import printable
from schemas.storage.location import Location
from schemas.tables import open_table

_TEMPLATES = Path(__file__).with_name("templates")
_UNKNOWN = "not specified"
_ROWS = 100  # of a table that grows with the data
_LIMITS = (
    "Licenses and sources are those that the inputs named; nobody has verified them.",
    "Items are rejected by measures and rules, which miss some unsuitable items and reject some good ones.",
    "Near-duplicates are found with a measured recall below 1: some copies remain.",
    "Captions, transcripts and languages come from the inputs or from automatic detection and contain errors.",
    "Personal data in books, videos and transcripts is removed only as far as the configuration asked for it.",
    "Frames are stored as codes of a lossy tokenizer: small text and faces may not be recognizable.",
)


@dataclass(frozen=True, kw_only=True)
class Section:
    """One section of the card: a heading, paragraphs, items of a list, and tables."""

    title: str
    text: tuple[str, ...] = ()
    points: tuple[str, ...] = ()
    tables: tuple[ReportTable, ...] = ()


def write_data_cards(workspace: Workspace, also: Sequence[Location] = (), *, only_missing: bool = False) -> None:
    """Write the cards of all finished datasets of a workspace, and of others that were packed from it.

    With `only_missing`, for a command that has changed nothing, those that exist are not made again.
    """
    folders = [*workspace.datasets(), *also]
    if only_missing:
        folders = [folder for folder in folders if not (folder / README).exists()]
    if not folders:
        return
    items = Items.read(workspace)
    for directory in folders:
        try:
            card = read_card(directory)
        except DatasetError:  # unfinished
            continue
        title, sections = f"Dataset {directory.name}", list(_sections(directory, card, items))
        _write(directory / README, _markdown(title, sections))
        page = load_template(_TEMPLATES / "data_card.html").render(title=title, sections=sections)
        _write(directory / README_PAGE, page)


def _write(place: Location, text: str) -> None:
    data = text.encode()
    if not place.exists() or place.read() != data:
        place.write(data)


def _sections(directory: Location, card: DatasetCard, items: Items) -> Iterator[Section]:
    tokens = sum(split.tokens for split in card.splits.values())
    yield Section(
        title="Content",
        text=(
            f"Videos, images, books and question-answer documents as tokens, packed by Longreel into sequences of "
            f"{card.context_length:,} tokens: {tokens:,} tokens in all. Every token can be traced to its item, license "
            "and time range in the ledger (`documents-*.parquet`).",
            f"Frames: {card.frame_rate:g} per second, {card.frame_size} pixels per side, "
            f"{card.frame_grid[0]} x {card.frame_grid[1]} codes each. Text ids: {card.vocabulary.text_size:,}; "
            f"frame codes: {card.vocabulary.vision_size:,}. Loss weights: {card.loss_weighting}.",
            *filter(None, [mixture_of(directory.name, card.mixture)]),
        ),
        tables=(_splits(card),),
    )
    yield _licenses(card.file(directory, LEDGER))
    yield _languages_and_durations(items)
    yield _rejected(card, items)
    yield Section(title="Known limits", points=_LIMITS)
    yield Section(
        title="Have an item removed",
        text=(
            "Write to those who published this dataset, with the address or the name of the item; the ledger lists "
            "all. They run `longreel takedown ITEM --out WORKSPACE`, which removes the item, its copies and "
            "near-duplicates from the workspace and all its datasets, blocks them for ever, and writes a receipt. "
            f"Documents removed from this dataset so far: {len(card.taken_down):,}.",
        ),
    )


def _splits(card: DatasetCard) -> ReportTable:
    rows = [
        (name, *(f"{n:,}" for n in (split.sequences, split.documents, split.text_tokens, split.vision_tokens)))
        for name, split in sorted(card.splits.items())
    ]
    columns = ("split", "sequences", "documents", "tokens of text", "tokens of frames")
    return ReportTable(title="Splits", columns=columns, rows=tuple(rows))


def _licenses(ledger: Location) -> Section:
    by_license, by_source = Counter[str](), Counter[tuple[str, str]]()
    with open_table(ledger) as file:
        for batch in file.iter_batches(1 << 20, columns=["license", "source", "length"]):
            sums = pa.Table.from_batches([batch]).group_by(["license", "source"]).aggregate([("length", "sum")])
            for row in sums.to_pylist():
                license, source = row["license"] or _UNKNOWN, row["source"] or _UNKNOWN
                by_license[license] += row["length_sum"]
                by_source[license, source] += row["length_sum"]
    licenses = sorted(by_license.items(), key=lambda pair: (-pair[1], pair[0]))
    sources = sorted(by_source.items(), key=lambda pair: (-pair[1], pair[0]))
    return Section(
        title="Licenses and sources",
        tables=(
            _table("Licenses", ("license", "tokens"), [(name, f"{n:,}") for name, n in licenses]),
            _table(
                "Sources",
                ("source", "license", "tokens"),
                [(source, license, f"{n:,}") for (license, source), n in sources],
                text_columns=2,
            ),
        ),
    )


def _languages_and_durations(items: Items) -> Section:
    kept = with_durations_and_words(kept_items(items.surveyed))
    videos = kept.filter(pc.and_(pc.equal(kept["kind"], "video"), pc.is_valid(kept["duration_s"])))
    books = kept.filter(pc.is_valid(kept["encoding"]))
    languages = books.set_column(
        books.column_names.index("language"), "language", pc.fill_null(books["language"], _UNKNOWN)
    )
    sums = languages.group_by("language").aggregate([("uri", "count"), ("words", "sum")])
    rows = sorted(sums.to_pylist(), key=lambda row: (-row["words_sum"], row["language"]))
    text = []
    if len(videos):
        seconds = videos["duration_s"]
        shortest, middle, longest = pc.quantile(seconds, [0.0, 0.5, 1.0], interpolation="lower").to_pylist()
        text.append(
            f"Videos kept in the workspace: {len(videos):,}, {duration(pc.sum(seconds).as_py())} in all; the shortest "
            f"has {duration(shortest)}, the median {duration(middle)}, the longest {duration(longest)}."
        )
    table = _table(
        "Languages of books",
        ("language", "books", "words"),
        [(row["language"], f"{row['uri_count']:,}", f"{row['words_sum']:,.0f}") for row in rows],
    )
    return Section(title="Languages and durations", text=tuple(text), tables=(table,))


def _rejected(card: DatasetCard, items: Items) -> Section:
    reasons = Counter(counts(items.surveyed["reason"].drop_null())) + Counter(
        counts(items.tokenized["reason"].drop_null())
    )
    rows = [(readable(reason), f"{n:,}") for reason, n in sorted(reasons.items(), key=lambda pair: (-pair[1], pair[0]))]
    left_out = [(readable(reason), f"{n:,}") for reason, n in sorted(card.left_out.items()) if n]
    made = counted(len(usable(items.tokenized)), "document")
    return Section(
        title="What was rejected",
        text=(f"{counted(len(items.listed), 'item')}: {reasons.total():,} rejected, {made} made.",),
        tables=(
            _table("Rejected items", ("reason", "items"), rows),
            _table("Documents that were not packed", ("reason", "documents"), left_out),
        ),
    )


def _table(title: str, columns: tuple[str, ...], rows: Sequence[tuple[str, ...]], text_columns: int = 1) -> ReportTable:
    more = len(rows) - _ROWS
    note = f"The ledger has {counted(more, 'more row')}." if more > 0 else ""
    return ReportTable(title=title, columns=columns, rows=tuple(rows[:_ROWS]), text_columns=text_columns, note=note)


def _markdown(title: str, sections: Sequence[Section]) -> str:
    lines = [f"# {_escaped(title)}"]
    for section in sections:
        lines += ["", f"## {section.title}"]
        for paragraph in section.text:
            lines += ["", paragraph]
        if section.points:
            lines += ["", *(f"- {point}" for point in section.points)]
        for table in section.tables:
            lines += _markdown_table(table) if table.rows else []
    return "\n".join(lines) + "\n"


def _markdown_table(table: ReportTable) -> list[str]:
    rule = ["---" if n < table.text_columns else "---:" for n in range(len(table.columns))]
    rows = [[_escaped(cell) for cell in row] for row in table.rows]
    lines = ["", f"**{table.title}**", "", *(f"| {' | '.join(row)} |" for row in [list(table.columns), rule, *rows])]
    return [*lines, "", table.note] if table.note else lines


def _escaped(text: str) -> str:
    """Return text from data with everything escaped that Markdown or HTML would interpret."""
    return re.sub(r"([\\`*_{}\[\]<>|#&!~])", r"\\\1", printable(text))
