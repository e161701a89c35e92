"""Files that execute code when they are unpickled, and the assertion that they are rejected."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import ConfigError
from tokenizer.checkpoints import checkpoint

CREATED = Path("hacked")  # the file that the code in a hostile pickle creates in the working directory


class Calls:
    """An object whose pickle calls a function."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


def assert_rejected(path: Path, message: str) -> None:
    """Assert that loading `path` raises ConfigError that matches `message` and contains the path."""
    with pytest.raises(ConfigError, match=message) as e:
        checkpoint.load(path)
    assert str(path) in str(e.value)
    assert not CREATED.exists()
