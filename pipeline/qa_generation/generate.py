"""Asks a model for questions and answers about books, checks them, and writes documents for training.

    book ──► chunks ──► model (cached) ──► filters ──► OUT/pairs.jsonl ──► OUT/documents/*.qa.json, OUT/manifest.jsonl

The manifest is an input of `longreel run`; its metadata say which chunks, model and prompt each pair comes from.
Interrupted at any moment, the same command continues: replies are kept one by one in OUT/replies.jsonl, so nothing is
asked twice.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.language_models.budget import BudgetedModel, BudgetSpent
from pipeline.language_models.cached import CachedModel
from pipeline.language_models.chat import ChatModel, RequestRefused
from pipeline.language_models.parallel import in_parallel
from pipeline.qa_generation.chunks import Chunk, split_chunks
from pipeline.qa_generation.config import QaGeneration
from pipeline.qa_generation.documents import QaDocument, join
from pipeline.qa_generation.filters import Rejection, contains, locate, normal, reject
from pipeline.qa_generation.pairs import Pair
from pipeline.qa_generation.prompts import Task, answer_request, parse_reply, question_request
from pipeline.qa_generation.report import write_report
from pipeline.text.books import Book
from pipeline.text.qa_items import QaItem, write_qa_items
from schemas.errors import ConfigError
from schemas.files import write_json, write_text

PAIRS, SUMMARY, REPLIES = "pairs.jsonl", "summary.json", "replies.jsonl"
_NAME_BYTES = 80  # of a book in the names of its documents; file systems allow 255 with all that follows


@dataclass(frozen=True)
class NamedBook:
    """A book, the name of its file without the extension, and its chunks."""

    name: str
    book: Book
    chunks: tuple[Chunk, ...]

    @classmethod
    def of(cls, path: Path, book: Book, config: QaGeneration) -> NamedBook:
        """Split a book into chunks."""
        name = re.sub(r"[^\w.-]+", "_", path.stem).encode()[:_NAME_BYTES].decode(errors="ignore") or "book"
        return cls(name, book, tuple(split_chunks(book.text, words=config.chunk_words)))


@dataclass(frozen=True)
class Question:
    """One request for a pair: a task about a chunk of a book."""

    book: NamedBook
    chunk: Chunk
    task: Task


def questions(books: Sequence[NamedBook], config: QaGeneration) -> Iterator[Question]:
    """Yield what is asked, in the order of books, chunks and tasks."""
    for book in books:
        for chunk in book.chunks:
            yield from (Question(book, chunk, task) for task in config.tasks)


def generate(
    books: Sequence[NamedBook],
    model: ChatModel,
    out: Path,
    config: QaGeneration,
    *,
    concurrency: int = 1,
    facts: dict[str, str] | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, Any]:
    """Ask, write the pairs, documents and manifest to `out`, and return the summary.

    `facts` are columns of all rows of the manifest, such as license and source. Raises ConfigError if the books have no
    text, JobError if the model cannot be reached.
    """
    asked = list(questions(books, config))
    if not asked:
        raise ConfigError("the books have no text to ask about")
    out.mkdir(parents=True, exist_ok=True)
    budgeted = BudgetedModel(model, config.max_requests)
    kept = CachedModel(budgeted, out / REPLIES)
    found = dict(in_parallel(lambda one: _pair(one, kept, config), asked, concurrency=concurrency, progress=progress))
    pairs = list(_unique(pair for _, pair in sorted(found.items()) if pair is not None))
    write_text(out / PAIRS, "".join(json.dumps(pair.to_dict(), ensure_ascii=False) + "\n" for pair in pairs))
    documents = write_qa_items(_items(books, pairs, config, facts or {}), out)
    summary = _summarize(model.name, asked, pairs, documents, budgeted)
    write_json(out / SUMMARY, summary)
    write_report(out, summary, pairs)
    return summary


def _pair(one: Question, model: ChatModel, config: QaGeneration) -> Pair | None:
    """Return what the model says, judged by itself; None if the budget is spent."""
    request = question_request(
        one.chunk.text, one.task, temperature=config.temperature, seed=config.seed, json_schema=config.json_schema
    )
    pair = Pair(
        book=one.book.book.content_id,
        chunk=one.chunk.number,
        chunk_span=(one.chunk.start, one.chunk.end),
        task=one.task,
        model=model.name,
        prompt_sha256=request.digest(),
        question="",
        answer="",
        answer_span=None,
        rejection=None,
    )
    try:
        reply = parse_reply(model.ask(request).text)
        if reply is None:
            return replace(pair, rejection=Rejection.MALFORMED)
        pair = _judged(replace(pair, question=reply[0], answer=reply[1]), one.chunk)
        if pair.rejection is None and config.without_chunk:
            alone = model.ask(answer_request(pair.question)).text
            pair = replace(pair, rejection=Rejection.WITHOUT_CHUNK if contains(alone, pair.answer) else None)
        return pair
    except RequestRefused:
        return replace(pair, rejection=Rejection.REFUSED_REQUEST)
    except BudgetSpent:
        return None


def _judged(pair: Pair, chunk: Chunk) -> Pair:
    """Return the pair with the place and the spelling of its answer in the book, or with its rejection."""
    span = locate(pair.answer, chunk.text)
    rejection = reject(pair.question, pair.answer, chunk.text)
    if span is None or rejection is not None:
        return replace(pair, rejection=rejection)
    answer = chunk.text[slice(*span)]
    return replace(pair, answer=answer, answer_span=(chunk.start + span[0], chunk.start + span[1]))


def _unique(pairs: Iterator[Pair]) -> Iterator[Pair]:
    """Yield the pairs; those whose question, or whose answer at its place, was kept before are rejected."""
    seen: set[tuple[str, object]] = set()
    for pair in pairs:
        keys = {(pair.book, normal(pair.question)), (pair.book, pair.answer_span)}
        if pair.rejection is None and seen & keys:
            yield replace(pair, rejection=Rejection.DUPLICATE)
            continue
        if pair.rejection is None:
            seen |= keys
        yield pair


def _items(
    books: Sequence[NamedBook], pairs: Sequence[Pair], config: QaGeneration, facts: dict[str, str]
) -> Iterator[QaItem]:
    """Yield the documents."""
    for book in books:
        about = [pair for pair in pairs if pair.book == book.book.content_id and pair.rejection is None]
        for number, document in enumerate(join(book.chunks, about, words=config.document_words)):
            name = f"{book.name}-{book.book.content_id[:8]}-{number:04d}"
            columns = {"title": book.name, **facts, "metadata": _provenance(book, document)}
            yield QaItem(name, document.turns(config.depths), columns)


def _provenance(book: NamedBook, document: QaDocument) -> dict[str, Any]:
    span = [document.chunks[0].start, document.chunks[-1].end]
    return {"book": book.book.content_id, "span": span, "pairs": [pair.provenance() for pair in document.pairs]}


def _summarize(
    name: str,
    asked: Sequence[Question],
    pairs: Sequence[Pair],
    documents: int,
    budget: BudgetedModel,
) -> dict[str, Any]:
    reasons = Counter(pair.rejection.value for pair in pairs if pair.rejection is not None)
    return {
        "model": name,
        "questions": len(asked),
        "not_asked": len(asked) - len(pairs),
        "kept": sum(pair.rejection is None for pair in pairs),
        "rejected": {reason.value: reasons[reason.value] for reason in Rejection if reasons[reason.value]},
        "documents": documents,
        **budget.usage(),
    }
