"""The command `longreel` with the tiny VQGAN among the architectures of train-tokenizer, for processes of their own."""

from __future__ import annotations

from collections.abc import Sequence

import longreel
from tests.support.vqgan.tiny_vqgan import DOT
from tokenizer.config import CONFIGS


def main(arguments: Sequence[str]) -> int:
    """Run a command."""
    CONFIGS["dot"] = lambda: DOT
    return longreel.main(arguments)
