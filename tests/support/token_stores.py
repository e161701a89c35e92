"""Small token stores for tests, written through pipeline/runtime/token_store.py: documents with made-up but valid
tokens.

Tokens are drawn from a hash of the document's name, so that equal names have equal tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.runtime.token_store import FACTS, StoreFacts, TokenStore, write_unit
from pipeline.runtime.units import unit_files, unit_number
from pipeline.runtime.workspace import Workspace
from schemas.files import write_text
from schemas.fingerprint import bucket, fingerprint
from schemas.records import TOKENS
from schemas.rows import DocumentRow
from schemas.storage.location import Location, located
from schemas.vocab import TEXT, VISION, Vocabulary

VOCABULARY = Vocabulary(
    text_size=50,
    codebook_size=20,
    bos_id=1,
    eos_id=2,
    begin_vision=(3,),
    end_vision=(4,),
    text_sha256="a" * 64,
    vision_sha256="b" * 64,
)
FRAME = 5  # tokens of a frame, <eof> included


@dataclass(frozen=True)
class StoredDocument:
    """A document as runs of one modality: (modality, tokens [n], start_s, end_s)."""

    name: str
    kind: str
    runs: list[tuple[int, NDArray[Any], float | None, float | None]]
    frame_tokens: int = 0
    split: str = "train"
    facts: dict[str, Any] = field(default_factory=dict)
    weights: Sequence[float] = ()  # of the runs' tokens as targets; 1 where none is given

    @property
    def id(self) -> str:
        """The document's id, which looks as that of real content does."""
        return fingerprint(self.name)

    @property
    def tokens(self) -> NDArray[Any]:
        """All its tokens [length]."""
        return np.concatenate([np.zeros(0), *(run[1] for run in self.runs)]).astype(VOCABULARY.dtype)

    def row(self) -> dict[str, Any]:
        """Return its row of records.TOKENS."""
        spans, start = [], 0
        weights = self.weights or [1.0] * len(self.runs)
        for (modality, tokens, start_s, end_s), weight in zip(self.runs, weights, strict=True):
            spans.append(
                {
                    "start": start,
                    "length": len(tokens),
                    "modality": modality,
                    "start_s": start_s,
                    "end_s": end_s,
                    "weight": weight,
                }
            )
            start += len(tokens)
        frames = sum(len(run[1]) // self.frame_tokens for run in self.runs if run[0] == VISION)
        return dict.fromkeys(TOKENS.names) | {
            "document_id": self.id,
            "fingerprint": fingerprint("tokens of", self.name),
            "kind": self.kind,
            "split": self.split,
            "uri": f"files/{self.name}",
            "title": self.name.title(),
            "license": "CC0-1.0",
            "frame_tokens": self.frame_tokens,
            "frames": frames,
            "frames_promised": frames,
            "cues": 0,
            "cues_outside": 0,
            "length": start,
            "spans": spans,
            **self.facts,
        }

    def entry(self) -> DocumentRow:
        """Return its row as the stages of the pipeline pass it."""
        return DocumentRow.from_row(self.row() | {"unit": -1, "batch": -1, "row": -1})


def book(name: str, length: int, *, split: str = "train") -> StoredDocument:
    """Return a book of `length` tokens, bos and eos included."""
    text = _text(name, length)
    text[0], text[-1] = VOCABULARY.bos_id, VOCABULARY.eos_id
    return StoredDocument(name, "book", [(TEXT, text, None, None)], split=split)


def qa(name: str, turns: Iterable[tuple[int, int]], *, context: int = 10, split: str = "train") -> StoredDocument:
    """Return `context` tokens, then questions and answers of as many tokens as given, of which answers have a weight.

    bos is the first token of the context, eos the last of the last answer.
    """
    said = [length for pair in turns for length in pair]
    said[0] += context
    text = _text(name, sum(said))
    text[0], text[-1] = VOCABULARY.bos_id, VOCABULARY.eos_id
    parts = np.split(text, np.cumsum(said)[:-1])
    weights = [0.0, 1.0] * (len(said) // 2)
    return StoredDocument(name, "qa", [(TEXT, part, None, None) for part in parts], split=split, weights=weights)


def video(
    name: str, frames: Iterable[int], *, cue: int = 3, split: str = "train", frame: int = FRAME, kind: str = "video"
) -> StoredDocument:
    """Return a video of some runs of frames, a cue of `cue` text tokens between each and the next; one frame a second.

    Its markers are as in real documents: `bos <vision> … eov </vision> cue <vision> … eov </vision> eos`.
    """
    counts = list(frames)
    runs: list[tuple[int, NDArray[Any], float | None, float | None]] = []
    text, at = np.array([VOCABULARY.bos_id]), 0.0
    for i, count in enumerate(counts):
        before = np.concatenate([text, VOCABULARY.begin_vision])
        runs.append((TEXT, before, at if i else None, at if i else None))
        runs.append((VISION, _frames(f"{name}{i}", count, frame), at, at + count))
        text, at = np.concatenate([VOCABULARY.end_vision, _text(f"{name}{i}", cue)]), at + count
    text[-1] = VOCABULARY.eos_id
    runs.append((TEXT, text, None, None))
    return StoredDocument(name, kind, runs, frame_tokens=frame, split=split)


def image(name: str, *, caption: int = 4, split: str = "train") -> StoredDocument:
    """Return an image with a caption of `caption` tokens."""
    return video(name, [1], cue=caption, split=split, kind="image")


def write_store(directory: Location | Path, documents: Iterable[StoredDocument], *, units: int = 3) -> TokenStore:
    """Write the documents, spread over `units` units, and open the store."""
    by_unit: dict[int, list[StoredDocument]] = {}
    for document in documents:
        by_unit.setdefault(bucket(document.id, units), []).append(document)
    for unit, some in by_unit.items():
        write_unit(located(directory), unit, [(d.entry(), d.tokens) for d in some], VOCABULARY.dtype)
    return TokenStore(located(directory))


def write_workspace(
    root: Path, documents: Iterable[StoredDocument], *, units: int = 3, vocabulary: Vocabulary = VOCABULARY
) -> Workspace:
    """Make a workspace with nothing in it but the token store of these documents, finished."""
    workspace = Workspace.open(root, units=units)
    write_store(workspace.tokens, documents, units=units)
    write_facts(workspace, vocabulary=vocabulary)
    return workspace


def write_facts(workspace: Workspace, *, vocabulary: Vocabulary = VOCABULARY) -> None:
    """Say that the token store is finished."""
    facts = StoreFacts(
        units=tuple(unit_number(located(path)) for path in unit_files(workspace.tokens)),
        vocabulary=vocabulary,
        frame_grid=(2, 2),
        frame_size=32,
        frame_rate=1.0,
    )
    write_text(workspace.tokens / FACTS, facts.to_json())


def _text(name: str, length: int) -> NDArray[Any]:
    return _rng(name).integers(5, VOCABULARY.text_size, length)


def _frames(name: str, count: int, frame: int) -> NDArray[Any]:
    codes = VOCABULARY.text_size + _rng(name).integers(0, VOCABULARY.codebook_size, (count, frame))
    codes[:, -1] = VOCABULARY.eof
    codes[-1, -1] = VOCABULARY.eov
    return codes.reshape(-1)


def _rng(name: str) -> np.random.Generator:
    return np.random.default_rng(int(fingerprint(name)[:16], 16))
