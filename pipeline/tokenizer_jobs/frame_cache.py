"""The frames of a tokenizer's training set: decoded once, into a memory-mapped file.

    out/frames/frames.u8     uint8 [n, size, size, 3], without a header
    out/frames/frames.json   n, size, the inputs and options, and for each video its hash and number of frames

A batch is a function of seed and step (`tokenizer/training/crops.py`) and draws from all videos, so it needs random
access to frames, while a decoder returns them in order. A frame of 160 pixels takes 77 kB on disk. Of more than `limit`
frames a uniform random sample of `limit` frames is kept (reservoir sampling, Vitter 1985), so disk space does not grow
with the collection. The JSON is written last: a cache without it is incomplete and is decoded again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from pipeline.dedup.similarity import Signature
from pipeline.runtime.interrupt import raise_if_stopping
from pipeline.sources.inputs import local_file
from pipeline.tokenizer_jobs.training_set import signature_of, write_training_table
from pipeline.video.decoder import Decoder
from schemas.errors import ConfigError, DatasetError, InputError, Reason, storage_errors
from schemas.files import atomic, write_text
from schemas.fingerprint import sha256_file

FOLDER = "frames"


def cached_frames(
    uris: Sequence[str],
    decoder: Decoder,
    out: Path,
    *,
    limit: int,
    seed: int,
    trained_on: Path,
    log: Callable[[str], None] = lambda line: None,
) -> NDArray[np.uint8]:
    """Return all frames of the videos and images, memory-mapped, uint8 `[n, size, size, 3]`.

    The first call decodes them and writes the table of the training set to `trained_on`. Raises ConfigError if `out`
    contains frames of other inputs or options, InputError if there is no frame, StorageError if the disk is full.
    """
    folder = out / FOLDER
    # Converted by JSON, so that it compares equal to the stored value.
    made_of = json.loads(
        json.dumps({"uris": sorted(uris), "decode": decoder.config.fingerprint_fields, "limit": limit, "seed": seed})
    )
    facts_path = folder / "frames.json"
    if not facts_path.is_file():
        facts = _decode(folder, made_of, decoder, trained_on, log)
        write_text(facts_path, json.dumps(facts, indent=1) + "\n")
    facts = json.loads(facts_path.read_text(encoding="utf-8"))
    if facts["made_of"] != made_of:
        differing = [name for name in made_of if facts["made_of"].get(name) != made_of[name]]
        raise ConfigError(
            f"{folder} contains frames decoded with different {', '.join(differing)}: "
            "give the same options, or another --out"
        )
    return _mapped(folder / "frames.u8", facts["frames"], facts["size"])


def _decode(
    folder: Path,
    made_of: dict[str, Any],
    decoder: Decoder,
    trained_on: Path,
    log: Callable[[str], None],
) -> dict[str, Any]:
    videos: list[dict[str, Any]] = []
    signatures: list[tuple[str, Signature]] = []
    with atomic(folder / "frames.u8") as temporary, temporary.open("w+b") as file:
        kept = _Reservoir(file, made_of["limit"], made_of["seed"])
        for uri in made_of["uris"]:
            before = kept.seen
            try:
                with local_file(uri) as path:
                    signature, sha256 = signature_of(decoder, path), sha256_file(path)
                    for frames, _ in decoder.frames(path):
                        raise_if_stopping()
                        kept.take(frames)
            except InputError as e:
                came = kept.seen - before
                log(f"excluded: {uri}: {e}" if not came else f"{uri}: {e}; its first {came} frames are kept")
            if kept.seen > before:  # a truncated video belongs to the training set, too
                videos.append({"uri": uri, "sha256": sha256, "frames": kept.seen - before})
                signatures.append((uri, signature))
        if not kept.count:
            raise InputError(Reason.EMPTY, "there is no frame to train on: no video or image could be decoded")
    write_training_table(trained_on, signatures)
    log(f"{len(videos)} videos and images have {kept.seen} frames, of which {kept.count} are kept")
    return {"frames": kept.count, "size": decoder.config.size, "made_of": made_of, "videos": videos}


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


def _mapped(path: Path, count: int, size: int) -> NDArray[np.uint8]:
    shape = (count, size, size, 3)
    if not path.is_file() or path.stat().st_size != int(np.prod(shape)):
        raise DatasetError(f"{path} is missing or truncated: remove the folder {path.parent} to decode again")
    return np.memmap(path, np.uint8, "r", shape=shape)
