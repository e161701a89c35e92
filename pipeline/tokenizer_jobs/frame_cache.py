"""The frames that a tokenizer is trained on: decoded once, to a file that is mapped into memory.

    out/frames/frames.u8     uint8 [n, size, size, 3], nothing else
    out/frames/frames.json   n, size, what they were made of, and of each video its hash and how many frames it gave

So that a batch can be drawn from all videos at once, and is a function of seed and step
(`tokenizer/training/crops.py`), frames have to be reachable by number; a decoder gives them in order. On disk a frame
of 160 pixels takes 77 kB. Of more than `limit` frames a random `limit` are kept, each with the same chance (reservoir
sampling, Vitter 1985), so that neither disk nor memory grows with the collection. Half a cache is never met: the JSON
is written last.
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
from pipeline.tokenizer_jobs.training_set import signature_of, write_trained_on
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
    say: Callable[[str], None] = lambda line: None,
) -> NDArray[np.uint8]:
    """Return all frames of the videos and images, mapped, uint8 `[n, size, size, 3]`; decodes them the first time.

    Then the table of what was trained on is written to `trained_on` as well. Raises ConfigError where `out` holds
    frames of something else, InputError where no frame came, StorageError where the disk is full.
    """
    folder = out / FOLDER
    # By way of JSON, so that it compares equal to what is read back.
    made_of = json.loads(
        json.dumps({"uris": sorted(uris), "decode": decoder.config.fingerprint_fields, "limit": limit, "seed": seed})
    )
    facts_path = folder / "frames.json"
    if not facts_path.is_file():
        facts = _decode(folder, made_of, decoder, trained_on, say)
        write_text(facts_path, json.dumps(facts, indent=1) + "\n")
    facts = json.loads(facts_path.read_text(encoding="utf-8"))
    if facts["made_of"] != made_of:
        differing = [name for name in made_of if facts["made_of"].get(name) != made_of[name]]
        raise ConfigError(
            f"{folder} holds frames made with other {', '.join(differing)}: "
            "give what it was made with, or another --out"
        )
    return _mapped(folder / "frames.u8", facts["frames"], facts["size"])


def _decode(
    folder: Path,
    made_of: dict[str, Any],
    decoder: Decoder,
    trained_on: Path,
    say: Callable[[str], None],
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
                say(f"left out: {uri}: {e}" if not came else f"{uri}: {e}; the {came} frames before that are kept")
            if kept.seen > before:  # what a defect cut short was trained on, too
                videos.append({"uri": uri, "sha256": sha256, "frames": kept.seen - before})
                signatures.append((uri, signature))
        if not kept.count:
            raise InputError(Reason.EMPTY, "no frame to train on: none of the videos and images gave one")
    write_trained_on(trained_on, signatures)
    say(f"{len(videos)} videos and images gave {kept.seen} frames, of which {kept.count} are kept")
    return {"frames": kept.count, "size": decoder.config.size, "made_of": made_of, "videos": videos}


class _Reservoir:
    """Keeps a random `limit` of the frames that it is given, in a file."""

    def __init__(self, file: BinaryIO, limit: int, seed: int) -> None:
        self._file, self._limit = file, limit
        self._rng = np.random.default_rng([seed, 2])
        self.seen = self.count = 0

    def take(self, frames: NDArray[np.uint8]) -> None:
        """Look at frames `[n, size, size, 3]`, and keep each or not."""
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
        raise DatasetError(f"{path} is missing or cut short: remove the folder {path.parent} to decode again")
    return np.memmap(path, np.uint8, "r", shape=shape)
