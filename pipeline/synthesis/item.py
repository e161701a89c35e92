"""A synthetic document, how many tokens it has, and how it is written."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.text.qa import QaConfig, Turn, lay_out
from pipeline.text.qa_items import QaItem, write_qa_items
from schemas.errors import ConfigError
from tokenizer.text.tokenizer import TextTokenizer

_ENDS = 2  # bos and eos
_MOST_TOKENS = 1 << 24  # of a document, which is made in memory


@dataclass(frozen=True, kw_only=True)
class SynthConfig:
    """How many documents are made, and how long they are."""

    length: int
    """Maximum length of a document in tokens, with everything that packing adds: the context that it is packed for."""
    count: int = 1000
    """Number of documents."""
    seed: int = 0
    """Random seed. The same options give the same documents."""

    def __post_init__(self) -> None:
        if not 1 <= self.length <= _MOST_TOKENS:
            raise ConfigError(f"length must be at least 1 and at most {_MOST_TOKENS:,}, got {self.length}")
        if self.count < 1:
            raise ConfigError(f"count must be at least 1, got {self.count}")


@dataclass(frozen=True)
class SyntheticDocument:
    """Turns of a document, and what is known about it."""

    turns: Sequence[Turn]
    facts: Mapping[str, Any]


def token_count(turns: Sequence[Turn], tokenizer: TextTokenizer) -> int:
    """Return the number of tokens of a document with the default prefixes of questions and answers."""
    texts = [text for text, _ in lay_out(turns, QaConfig())]
    return sum(map(len, tokenizer.encode_parts(texts))) + _ENDS


def write_documents(
    task: str,
    documents: Iterable[SyntheticDocument],
    out: Path,
    config: SynthConfig,
    *,
    columns: Mapping[str, str],
) -> int:
    """Write documents and their manifest to `out`; `columns` are license and source of its rows.

    The metadata of a row are the task with its options and seed, the number of the document, and its facts, so that any
    document can be made again.
    """
    return write_qa_items(_items(task, documents, config, columns), out)


def _items(
    task: str, documents: Iterable[SyntheticDocument], config: SynthConfig, columns: Mapping[str, str]
) -> Iterator[QaItem]:
    for number, document in enumerate(documents):
        made = {"task": task, "length": config.length, "seed": config.seed, "number": number, **document.facts}
        name = f"{task}-{config.length}-{config.seed}-{number:06d}"
        yield QaItem(name, document.turns, {"title": name, **columns, "metadata": made})


def text_hash(text: str) -> str:
    """Return a hash of a text that documents are made of."""
    return hashlib.sha256(text.encode()).hexdigest()
