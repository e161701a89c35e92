"""The frames of a tokenizer's training set: decoded once, into a memory-mapped file.

    out/frames/frames.u8     uint8 [n, size, size, 3], without a header
    out/frames/frames.json   n, size, the inputs and options, and for each video its hash and number of frames

A batch is a function of seed and step (`tokenizer/training/crops.py`) and draws from all videos, so it needs random
access to frames, while a decoder returns them in order. A frame of 160 pixels takes 77 kB on disk. Of more than `limit`
frames a uniform random sample of `limit` frames is kept (reservoir sampling, Vitter 1985), so disk space does not grow
with the collection. The JSON is written last: a cache without it is incomplete and is decoded again.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from pipeline.dedup.similarity import Signature
from pipeline.runtime.interrupt import raise_if_stopping
from pipeline.sources.access import STRICT, AccessConfig
from pipeline.sources.inputs import local_file
from pipeline.tokenizer_jobs.training_set import signature_of, write_training_table
from pipeline.video.decoder import DecodeConfig, Decoder
from schemas.checksums import file_checksum
from schemas.counted import counted
from schemas.errors import ConfigError, DatasetError, InputError, Reason, storage_errors
from schemas.files import atomic, read_json, write_json
from schemas.fingerprint import sha256_file
from schemas.record_errors import record_errors
from schemas.runs.count_progress import CountProgress

FOLDER = "frames"


@dataclass(frozen=True, kw_only=True)
class _CacheKey:
    """The inputs and options that the frames depend on."""

    uris: list[str]
    decode: Any  # DecodeConfig.fingerprint_fields, as JSON restores them
    limit: int
    seed: int

    @classmethod
    def of(cls, uris: Sequence[str], config: DecodeConfig, *, limit: int, seed: int) -> _CacheKey:
        decode = json.loads(json.dumps(config.fingerprint_fields))
        return cls(uris=sorted(uris), decode=decode, limit=limit, seed=seed)

    def differing(self, other: _CacheKey) -> list[str]:
        """Return the names of the fields in which two keys differ."""
        names = (field.name for field in dataclasses.fields(self))
        return [name for name in names if getattr(self, name) != getattr(other, name)]


@dataclass(frozen=True, kw_only=True)
class _CachedVideo:
    uri: str
    sha256: str
    frames: int  # decoded ones, of which the cache contains a sample


@dataclass(frozen=True, kw_only=True)
class _CacheFacts:
    """The content of frames.json."""

    frames: int
    size: int  # side of a frame in pixels
    checksum_of_frames: str
    made_of: _CacheKey
    videos: Sequence[_CachedVideo]

    @classmethod
    def read(cls, path: Path) -> _CacheFacts:
        try:
            values = read_json(path)
            videos = [_CachedVideo(**video) for video in values.pop("videos")]
            return cls(**values | {"made_of": _CacheKey(**values["made_of"]), "videos": videos})
        except (DatasetError, TypeError, KeyError) as e:
            raise DatasetError(f"{path} cannot be used ({e}): remove the folder {path.parent} to decode again") from e


def cached_frames(
    uris: Sequence[str],
    decoder: Decoder,
    out: Path,
    *,
    limit: int,
    seed: int,
    trained_on: Path,
    access: AccessConfig = STRICT,
    log: Callable[[str], None] = lambda line: None,
) -> NDArray[np.uint8]:
    """Return all frames of the videos and images, memory-mapped, uint8 `[n, size, size, 3]`.

    The first call decodes them and writes the table of the training set to `trained_on`. Raises ConfigError if `out`
    contains frames of other inputs or options, InputError if there is no frame, StorageError if the disk is full.
    """
    folder = out / FOLDER
    made_of = _CacheKey.of(uris, decoder.config, limit=limit, seed=seed)
    facts_path = folder / "frames.json"
    if not facts_path.is_file():
        write_json(facts_path, dataclasses.asdict(_decode(folder, made_of, decoder, trained_on, access, log)))
    facts = _CacheFacts.read(facts_path)
    if differing := made_of.differing(facts.made_of):
        raise ConfigError(
            f"{folder} contains frames decoded with different {', '.join(differing)}: "
            "give the same options, or another --out"
        )
    return _mapped(folder / "frames.u8", facts)


def _decode(
    folder: Path,
    made_of: _CacheKey,
    decoder: Decoder,
    trained_on: Path,
    access: AccessConfig,
    log: Callable[[str], None],
) -> _CacheFacts:
    videos: list[_CachedVideo] = []
    signatures: list[tuple[str, Signature]] = []
    with atomic(folder / "frames.u8") as temporary, temporary.open("w+b") as file:
        kept = _Reservoir(file, made_of.limit, made_of.seed)
        count = CountProgress("train-tokenizer: decoding", len(made_of.uris), "videos and images")
        for done, uri in enumerate(made_of.uris):
            before = kept.seen
            try:
                with record_errors(uri), local_file(uri, access=access) as path:
                    signature, sha256 = signature_of(decoder, path), sha256_file(path)
                    for frames, _ in decoder.frames(path):
                        raise_if_stopping()
                        kept.take(frames)
                        count.show(done)
            except InputError as e:
                came = kept.seen - before
                log(f"excluded: {uri}: {e}" if not came else f"{uri}: {e}; kept: its first {counted(came, 'frame')}")
            if kept.seen > before:  # a truncated video belongs to the training set, too
                videos.append(_CachedVideo(uri=uri, sha256=sha256, frames=kept.seen - before))
                signatures.append((uri, signature))
        count.close(len(made_of.uris))
        if not kept.count:
            raise InputError(Reason.EMPTY, "there is no frame to train on: no video or image could be decoded")
    write_training_table(trained_on, signatures)
    items = counted(len(videos), "video or image", "videos and images")
    log(f"{items}: {counted(kept.seen, 'frame')}, {kept.count:,} kept")
    return _CacheFacts(
        frames=kept.count,
        size=decoder.config.size,
        checksum_of_frames=file_checksum(folder / "frames.u8"),
        made_of=made_of,
        videos=videos,
    )


class _Reservoir:
    """Keeps a uniform random sample of at most `limit` frames in a file."""

    def __init__(self, file: BinaryIO, limit: int, seed: int) -> None:
        self._file, self._limit = file, limit
        self._rng = np.random.default_rng([seed, 2])
        self.seen = self.count = 0

    def take(self, frames: NDArray[np.uint8]) -> None:
        """Add frames `[n, size, size, 3]` to the sampled stream."""
        for frame in frames:
            place = self.count if self.count < self._limit else int(self._rng.integers(self.seen + 1))
            self.seen += 1
            if place < self._limit:
                self._file.seek(place * frame.nbytes)
                with storage_errors(Path(self._file.name)):
                    self._file.write(frame.tobytes())
                self.count = max(self.count, place + 1)


def _mapped(path: Path, facts: _CacheFacts) -> NDArray[np.uint8]:
    shape = (facts.frames, facts.size, facts.size, 3)
    if not path.is_file() or path.stat().st_size != int(np.prod(shape)):
        raise DatasetError(f"{path} is missing or truncated: remove the folder {path.parent} to decode again")
    if file_checksum(path) != facts.checksum_of_frames:
        raise DatasetError(f"{path} is damaged: remove the folder {path.parent} to decode again")
    return np.memmap(path, np.uint8, "r", shape=shape)
