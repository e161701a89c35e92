"""What the two trainers' runs have in common on disk: `metrics.jsonl`, and how checkpoints name arrays and fail."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from schemas.errors import StorageError, storage_errors

METRICS, TENSORBOARD = "metrics.jsonl", "tensorboard"

_FULL = ("No space left", "File too large", "Disk quota", "RESOURCE_EXHAUSTED")


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a `metrics.jsonl`, [] where there is none; a last line that was cut short is left out."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def metrics_line(row: Mapping[str, Any]) -> str:
    """Return a row as a line of a `metrics.jsonl`; its values are finite or None, see `finite`."""
    return json.dumps(row, allow_nan=False) + "\n"


def finite(value: float) -> float | None:
    """Return a value, or None, which is null in JSON, where it is NaN or infinite."""
    return value if math.isfinite(value) else None


def leaf_words(path: tuple[Any, ...]) -> list[str]:
    """Return the words of a leaf's path in a jax tree; they do not depend on the classes of the tree's nodes."""
    words = [str(getattr(key, "name", getattr(key, "key", getattr(key, "idx", None)))) for key in path]
    return [word for word in words if word != "value"]  # of an nnx.Variable


@contextmanager
def orbax_errors(path: Path, *, what: str) -> Iterator[None]:
    """Turn a full disk into a StorageError: TensorStore reports it as a ValueError with errno's words."""
    try:
        with storage_errors(path):
            yield
    except ValueError as e:
        if any(words in str(e) for words in _FULL):
            raise StorageError(
                f"cannot write a {what} to {path}: {e}. Earlier {what}s are kept: free some space and run "
                "the same command again."
            ) from e
        raise
