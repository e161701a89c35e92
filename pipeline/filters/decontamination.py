"""Decontamination: text that stands in evaluation sets is found by runs of 13 words that both have.

The rule of GPT-3 (Brown et al. 2020, appendix C), on words without case and punctuation: each run is left out of the
text with 200 characters on either side. A set is a .txt file, or a
.jsonl file of which every text value of every row counts. Runs are held as sorted 64-bit hashes: 8 bytes each.
Texts of fewer than 13 words have no run and are not looked for.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.text.encoding import read_utf8
from pipeline.text.words import Words, shingles, split_words
from schemas.errors import ConfigError, InputError
from schemas.fingerprint import fingerprint, sha256_file

RUN_WORDS = 13
_MARGIN = 200  # characters
_MAX_BYTES = 1 << 30


class EvaluationSets(NamedTuple):
    """The runs of words of all sets together."""

    runs: NDArray[np.uint64]  # [n], sorted, each once
    sha256: str  # of the files, whatever their order

    def ranges(self, words: Words, characters: int) -> list[tuple[int, int, int]]:
        """Return what to leave out of a text of so many characters: (start, end, runs that a set has), in order."""
        own = shingles(words.hashes, RUN_WORDS)
        at = np.minimum(np.searchsorted(self.runs, own), len(self.runs) - 1)
        found: list[tuple[int, int, int]] = []
        for first in np.flatnonzero(self.runs[at] == own).tolist():
            start = max(0, int(words.starts[first]) - _MARGIN)
            end = min(characters, int(words.ends[first + RUN_WORDS - 1]) + _MARGIN)
            start = int(words.starts[np.searchsorted(words.starts, start)]) if start else 0  # never within a word
            end = int(words.ends[np.searchsorted(words.ends, end)]) if end <= words.ends[-1] else characters
            if found and start <= found[-1][1]:
                found[-1] = (found[-1][0], end, found[-1][2] + 1)
            else:
                found.append((start, end, 1))
        return found


@functools.lru_cache(maxsize=4)
def load_sets(paths: tuple[Path, ...]) -> EvaluationSets | None:
    """Read evaluation sets, once a process; None where there is no path.

    Raises ConfigError for a file that cannot be read, is of another kind, or has no run of 13 words.
    """
    if not paths:
        return None
    runs = []
    for path in paths:
        found = [shingles(split_words(text).hashes, RUN_WORDS) for text in _texts(path)]
        runs.append(np.unique(np.concatenate([np.zeros(0, np.uint64), *found])))
        if not len(runs[-1]):
            raise ConfigError(f"the evaluation set {path} has no text of {RUN_WORDS} words: nothing to look for")
    return EvaluationSets(np.unique(np.concatenate(runs)), fingerprint(sorted(map(sha256_file, paths))))


def _texts(path: Path) -> Iterator[str]:
    try:
        content = "".join(read_utf8(path, max_bytes=_MAX_BYTES))
    except InputError as e:
        raise ConfigError(f"the evaluation set {path} cannot be used: {e}") from e
    if path.suffix == ".txt":
        yield content
    elif path.suffix == ".jsonl":
        for number, line in enumerate(content.split("\n"), start=1):
            try:
                yield from _strings(json.loads(line)) if line.strip() else ()
            except (ValueError, RecursionError) as e:
                raise ConfigError(f"the evaluation set {path}, line {number}: not JSON ({e})") from e
    else:
        raise ConfigError(f"the evaluation set {path} is neither .txt nor .jsonl")


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _strings(part)
