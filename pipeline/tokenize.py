"""Tokenize: every selected item becomes tokens, once.

Decode and encode happen in one call of one worker: frames go from the decoder's shared memory to the VQGAN in
batches, codes and text are interleaved into a document, and the unit's file is replaced when its documents are
done. Cost: the encoder's; one document's codes and one batch of frames are in memory.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.books import BookConfig, read_book
from pipeline.decode import DecodeConfig, Decoder
from pipeline.inputs import local_file
from pipeline.interleave import Document, InterleaveConfig, book_document, text_document, video_document
from pipeline.interrupt import is_stopping, raise_if_stopping
from pipeline.progress import MADE, REJECTED, note
from pipeline.qa import QaConfig, lay_out, read_turns
from pipeline.store import TokenStore, read_unit, write_unit
from pipeline.transcript import Cue, TranscriptConfig, embedded_cues, read_transcript
from pipeline.workspace import Workspace, read_table_unit, usable
from schemas.errors import ConfigError, InputError, Interrupted, Reason
from schemas.fingerprint import fingerprint, sha256_file
from schemas.records import SURVEY, TOKENS
from schemas.vocab import Vocabulary
from tokenizer.codec import FrameCodec
from tokenizer.text import TextTokenizer

_VERSION = 1  # counts up when the same input would give other tokens
_COMMIT_EVERY_S = 300.0  # a killed worker loses at most this much work
_FROM_SELECTION = ("document_id", "kind", "split", "uri", "title", "source", "licence")
_EMPTY = dict.fromkeys(TOKENS.names) | {"spans": [], "frame_tokens": 0, "frames": 0, "frames_promised": 0}


@dataclass(frozen=True, kw_only=True)
class TokenizeConfig:
    """How items become tokens."""

    vision: str = "small-128"
    """The VQGAN: a shipped checkpoint's name, or the path of a .safetensors file."""
    decode: DecodeConfig = field(default_factory=DecodeConfig)
    books: BookConfig = field(default_factory=BookConfig)
    qa: QaConfig = field(default_factory=QaConfig)
    transcripts: TranscriptConfig = field(default_factory=TranscriptConfig)
    interleave: InterleaveConfig = field(default_factory=InterleaveConfig)


@functools.lru_cache(maxsize=4)
def load_codec(vision: str) -> FrameCodec:
    """Load a VQGAN once a process: worker threads share the weights and the compiled functions."""
    return FrameCodec.load(vision)


def make_vocabulary(text: TextTokenizer, codec: FrameCodec) -> Vocabulary:
    """Join both tokenizers in one id space."""
    return Vocabulary(
        text_size=text.size,
        codebook_size=codec.codebook_size,
        bos_id=text.bos_id,
        eos_id=text.eos_id,
        begin_vision=text.begin_vision,
        end_vision=text.end_vision,
        text_sha256=text.sha256,
        vision_sha256=codec.sha256,
    )


def document_fingerprint(row: Mapping[str, Any], config: TokenizeConfig, vocabulary: Vocabulary) -> str:
    """Return all that a document's tokens depend on, and nothing else."""
    content = [row[name] for name in ("document_id", "kind", "captions", "transcript_sha256")]
    if row["kind"] == "book":
        cuts = [(cut["start"], cut["end"]) for cut in row["cuts"] or ()]
        return fingerprint(_VERSION, content, cuts, config.books.recipe, vocabulary)
    if row["kind"] == "qa":
        return fingerprint(_VERSION, content, vocabulary, config.qa.words)
    transcript = (row["transcript"] == "embedded", config.transcripts.encoding if row["transcript"] else None)
    return fingerprint(_VERSION, content, transcript, vocabulary, config.decode.recipe, config.interleave)


class Tokenizers:
    """Everything that turns one item into a document: decoder, VQGAN, text model, and the vocabulary they share."""

    def __init__(self, decoder: Decoder, text: TextTokenizer, config: TokenizeConfig) -> None:
        self.codec = load_codec(config.vision)
        if config.decode.size != self.codec.frame_size:
            raise ConfigError(
                f"decode.size is {config.decode.size}, but the VQGAN {config.vision!r} works on "
                f"{self.codec.frame_size} pixels: give --decode.size {self.codec.frame_size}"
            )
        self.text = text
        self.vocabulary = make_vocabulary(text, self.codec)
        self._decoder = decoder
        self._config = config

    def tokenize(self, row: Mapping[str, Any]) -> tuple[dict[str, Any], Document]:
        """Return the facts for the index and the document of a selected row; raises InputError."""
        with local_file(row["uri"], max_bytes=sys.maxsize) as path:  # the survey held it to the limit
            _require_same(path, row["document_id"], row["uri"])
            if row["kind"] == "book":
                return {}, self._book(path, row)
            if row["kind"] == "qa":
                return {}, self._qa(path)
            return self._video(path, row)

    def _book(self, path: Path, row: Mapping[str, Any]) -> Document:
        chunks = read_book(path, self._config.books, cuts=row["cuts"] or (), content_id=row["content_id"])
        return book_document(np.concatenate(list(self.text.encode_stream(chunks))), vocabulary=self.vocabulary)

    def _qa(self, path: Path) -> Document:
        texts, weights = zip(*lay_out(read_turns(path, self._config.qa), self._config.qa), strict=True)
        return text_document(zip(self.text.encode_parts(texts), weights, strict=True), vocabulary=self.vocabulary)

    def _video(self, path: Path, row: Mapping[str, Any]) -> tuple[dict[str, Any], Document]:
        codes = []
        for frames, _ in self._decoder.frames(path):
            raise_if_stopping()
            codes.append(self.codec.encode(frames))
        report = self._decoder.report
        assert report is not None  # set when the frames have ended
        document = video_document(
            np.concatenate(codes),
            frame_rate=self._config.decode.fps,
            captions=row["captions"] or (),
            cues=self._cues(path, row),
            vocabulary=self.vocabulary,
            text=self.text,
            config=self._config.interleave,
            seed_identity=row["document_id"],
        )
        facts = {"frames": report.frames, "frames_promised": report.frames_promised, "detail": report.detail or None}
        return facts, document

    def _cues(self, path: Path, row: Mapping[str, Any]) -> list[Cue]:
        if not row["transcript"]:
            return []
        if row["transcript"] == "embedded":
            return embedded_cues(self._decoder.subtitles(path))
        with local_file(row["transcript"], max_bytes=1 << 30) as sidecar:
            _require_same(sidecar, row["transcript_sha256"], row["transcript"])
            return read_transcript(sidecar, self._config.transcripts)


def _require_same(path: Path, sha256: str, uri: str) -> None:
    if sha256_file(path) != sha256:
        raise InputError(Reason.CHANGED, f"{uri} is not the file that was surveyed; survey again")


@dataclass(frozen=True, kw_only=True)
class TokenizeWorker:
    """Tokenizes units of the selection."""

    workspace: Workspace
    config: TokenizeConfig
    text_model: Path
    retry: bool = False  # try again what an earlier run set aside

    @contextmanager
    def open(self) -> Iterator[Callable[[int], None]]:
        """Start the decoder and load both tokenizers; see pipeline.beam.Worker."""
        with Decoder(self.config.decode) as decoder:
            tools = Tokenizers(decoder, TextTokenizer.load(self.text_model), self.config)
            yield lambda unit: self._tokenize_unit(unit, tools)

    def _tokenize_unit(self, unit: int, tools: Tokenizers) -> None:
        wanted = usable(read_table_unit(self.workspace.selection, unit, SURVEY)).to_pylist()
        done, retry = False, self.retry
        while not done:  # every pass keeps what the passes before it made, and adds what fits into its time
            work = _Pass(self, tools, unit, retry=retry)
            write_unit(self.workspace.tokens, unit, work.documents(wanted), tools.vocabulary.dtype)
            raise_if_stopping()
            done, retry = work.complete, False


class _Pass:
    """One pass over a unit's documents: known ones are copied, new ones made until the deadline."""

    def __init__(self, worker: TokenizeWorker, tools: Tokenizers, unit: int, *, retry: bool) -> None:
        self.complete = True
        self._worker, self._tools, self._retry = worker, tools, retry
        self._deadline: float | None = None  # runs from the first document made, so that every pass makes one
        tokens = worker.workspace.tokens
        self._store = TokenStore(tokens)
        self._known = {row["document_id"]: row for row in read_unit(tokens, unit).to_pylist()}

    def documents(self, wanted: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], NDArray[Any]]]:
        config, vocabulary = self._worker.config, self._tools.vocabulary
        for selected in wanted:
            key = document_fingerprint(selected, config, vocabulary)
            columns = {name: selected[name] for name in _FROM_SELECTION} | {"fingerprint": key}
            known = self._known.get(selected["document_id"])
            if known and _is_made(known, key, retry=self._retry):
                yield {**known, **columns}, self._stored(known, vocabulary)
            elif is_stopping() or (self._deadline and time.monotonic() > self._deadline):
                self.complete = False
            else:
                self._deadline = self._deadline or time.monotonic() + _COMMIT_EVERY_S
                try:
                    yield self._make(selected, columns)
                except Interrupted:
                    self.complete = False

    def _stored(self, known: Mapping[str, Any], vocabulary: Vocabulary) -> NDArray[Any]:
        if known["reason"]:
            return np.zeros(0, vocabulary.dtype)
        return self._store.read(known["unit"], known["batch"], known["row"])

    def _make(self, selected: Mapping[str, Any], columns: Mapping[str, Any]) -> tuple[dict[str, Any], NDArray[Any]]:
        started = time.monotonic()
        row: dict[str, Any] = {**_EMPTY, **columns}
        tokens: NDArray[Any] = np.zeros(0, self._tools.vocabulary.dtype)
        try:
            facts, document = self._tools.tokenize(selected)
            tokens = document.tokens
            spans = [dataclasses.asdict(span) for span in document.spans]
            row |= facts | {"spans": spans, "frame_tokens": document.frame_tokens}
        except InputError as e:
            row |= {"reason": e.reason.value, "detail": str(e)}
        seconds = round(time.monotonic() - started, 3)
        outcome = REJECTED if row["reason"] else MADE
        note(
            self._worker.workspace.log("tokenize"),
            outcome,
            uri=row["uri"],
            reason=row["reason"],
            frames=row["frames"],
            tokens=len(tokens),
            seconds=seconds,
        )
        return row, tokens


def _is_made(known: Mapping[str, Any], key: str, *, retry: bool) -> bool:
    """Tell whether a stored row holds. A file that was away or another one says nothing about the content."""
    passing = known["reason"] in (Reason.MISSING, Reason.CHANGED)
    return known["fingerprint"] == key and not passing and not (retry and known["reason"])


def work_left(worker: TokenizeWorker, unit: int, vocabulary: Vocabulary) -> int | None:
    """Return how many documents of a unit are still to be made; None where its files need no change at all."""
    known = {row["document_id"]: row for row in read_unit(worker.workspace.tokens, unit).to_pylist()}
    wanted = {}
    for row in usable(read_table_unit(worker.workspace.selection, unit, SURVEY)).to_pylist():
        columns = {name: row[name] for name in _FROM_SELECTION}
        wanted[row["document_id"]] = columns | {"fingerprint": document_fingerprint(row, worker.config, vocabulary)}
    missing = [
        document_id
        for document_id, row in wanted.items()
        if (old := known.get(document_id)) is None or not _is_made(old, row["fingerprint"], retry=worker.retry)
    ]
    same = wanted.keys() == known.keys() and all(row.items() <= known[i].items() for i, row in wanted.items())
    return None if same and not missing else len(missing)
