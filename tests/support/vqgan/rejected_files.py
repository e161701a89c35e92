"""Assertion that a weights file is rejected and its code is not executed."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.errors import ConfigError
from tokenizer.checkpoints import checkpoint

CREATED = Path("hacked")  # the file that the code in a hostile pickle creates in the working directory


def assert_rejected(path: Path, message: str) -> None:
    """Assert that loading `path` raises ConfigError that matches `message` and contains the path."""
    with pytest.raises(ConfigError, match=message) as e:
        checkpoint.load(path)
    assert str(path) in str(e.value)
    assert not CREATED.exists()
