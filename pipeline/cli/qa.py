"""The command `qa`: questions and answers about books, written by a language model, as training data."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

from rich.table import Table
from tyro.conf import OmitArgPrefixes, Positional, arg

from pipeline.cli.evaluation import Subject
from pipeline.qa_generation.config import QaGeneration
from pipeline.qa_generation.generate import NamedBook, generate, questions
from pipeline.qa_generation.prompts import question_request
from pipeline.qa_generation.report import PAGE
from pipeline.runtime.progress import output
from pipeline.text.books import BookConfig, load_book
from pipeline.text.formats.registry import FORMATS
from pipeline.text.qa_items import MANIFEST
from schemas.counted import counted
from schemas.errors import ConfigError, InputError
from schemas.record_errors import record_errors
from schemas.runs.count_progress import CountProgress
from schemas.runs.folder_lock import locked_folder
from schemas.runs.messages import messages

_CHARACTERS_PER_TOKEN = 4.0  # of English
_REPLY_TOKENS = 60


@dataclass(frozen=True, kw_only=True)
class Qa:
    """Let a language model write questions and answers about books, as training data for long contexts.

    Each chunk of a book is shown to a model behind a server with OpenAI's interface, or a run of Longreel. Answers that
    are not copied from the chunk, and others that are no good, are rejected with a reason. Neighbouring chunks with
    their questions become documents: OUT/manifest.jsonl is an input of `longreel run`. The same command continues, and
    asks nothing twice. See docs/generated_data.md.
    """

    RECORD: ClassVar = "out"

    books: Positional[tuple[Path, ...]]
    """Books, or folders of books."""
    license: str | None = None
    """License of the books, which is also that of the documents in the manifest."""
    source: str | None = None
    """Source of the documents in the manifest, for example to give it a weight in a mixture."""
    dry_run: bool = False
    """Print the number of requests, their tokens and price, and ask nothing."""
    price_in: float | None = None
    """Price of a million prompt tokens, in any currency; it is printed for a dry run and in the summary."""
    price_out: float | None = None
    """Price of a million reply tokens."""
    generation: Annotated[QaGeneration, OmitArgPrefixes] = field(default_factory=QaGeneration)
    text: Annotated[BookConfig, arg(name="text")] = field(default_factory=BookConfig)
    subject: Annotated[Subject, arg(name="")]

    def __post_init__(self) -> None:
        for name in ("price_in", "price_out"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise ConfigError(f"{name} must be a number of at least 0, got {value}")

    def __call__(self, options: tuple[str, ...]) -> None:
        """Ask, and print how many questions were kept."""
        books = list(self._load())
        if self.dry_run:
            output().print(self._estimate(books))
            return
        total = sum(1 for _ in questions(books, self.generation))
        model, count = self.subject.load(), CountProgress("qa", total, "questions")
        with locked_folder(self.subject.out):
            summary = generate(
                books,
                model,
                self.subject.out,
                self.generation,
                concurrency=self.subject.concurrency,
                facts={name: value for name in ("license", "source") if (value := getattr(self, name)) is not None},
                progress=count.show,
            )
        count.close(total)
        self._print(summary)

    def _load(self) -> Iterator[NamedBook]:
        """Yield the books that can be read, and name the others."""
        for path in _files(self.books):
            try:
                with record_errors(str(path)):
                    book = NamedBook.of(path, load_book(path, self.text), self.generation)
            except InputError as e:
                messages.warning(f"qa: {path} is left out: {e}")
            else:
                yield book

    def _estimate(self, books: Sequence[NamedBook]) -> str:
        asked = list(questions(books, self.generation))
        characters = sum(
            len(question_request(one.chunk.text, one.task, temperature=0, seed=0).messages[0].text) for one in asked
        )
        prompt, reply = int(characters / _CHARACTERS_PER_TOKEN), len(asked) * _REPLY_TOKENS
        more = ", and a short one for each pair that is not rejected before" if self.generation.without_chunk else ""
        price = self._price(prompt, reply)
        return (
            f"{counted(len(books), 'book')}, {counted(sum(len(book.chunks) for book in books), 'chunk')}: "
            f"{counted(len(asked), 'request')}{more}; "
            f"about {prompt:,} prompt tokens and {reply:,} reply tokens" + (f"; price {price:,.2f}" if price else "")
        )

    def _price(self, prompt_tokens: int, reply_tokens: int) -> float:
        return (prompt_tokens * (self.price_in or 0) + reply_tokens * (self.price_out or 0)) / 1e6

    def _print(self, summary: dict[str, Any]) -> None:
        table = Table("questions", "count", "share")
        rows = {"kept": summary["kept"], **summary["rejected"], "not asked (--max-requests)": summary["not_asked"]}
        for name, count in rows.items():
            if count or name == "kept":
                table.add_row(name, f"{count:,}", f"{count / summary['questions']:.1%}")
        output().print(table)
        price = self._price(summary["prompt_tokens"], summary["reply_tokens"])
        messages.info(
            f"qa: {counted(summary['documents'], 'document')}; {counted(summary['requests'], 'request')} in this run, "
            f"{summary['prompt_tokens']:,} prompt tokens, {summary['reply_tokens']:,} reply tokens"
            + (f", price {price:,.2f}" if price else "")
            + f"; {self.subject.out / MANIFEST}, {self.subject.out / PAGE}"
        )


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    """Yield the files, and those of the folders that have the name of a book, in order."""
    suffixes = {suffix for known in FORMATS for suffix in known.suffixes}
    for path in paths:
        if not path.exists():
            raise ConfigError(f"there is no file or folder {path}")
        if path.is_dir():
            yield from (one for one in sorted(path.rglob("*")) if one.suffix.lower() in suffixes and _is_own(one))
        else:
            yield path


def _is_own(path: Path) -> bool:
    """Return whether a path is a file and no link, which could lead out of the folder."""
    return path.is_file() and not path.is_symlink()
