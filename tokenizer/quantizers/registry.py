"""The quantizers there are, each with its options. A new one is a file of its own and a field here."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Literal

from schemas.errors import ConfigError
from tokenizer.quantizers.base import Quantizer
from tokenizer.quantizers.ema import EmaConfig
from tokenizer.quantizers.fsq import FsqConfig
from tokenizer.quantizers.ibq import IbqConfig
from tokenizer.quantizers.l2 import L2Config
from tokenizer.quantizers.simvq import SimvqConfig

Kind = Literal["ema", "ibq", "fsq", "simvq", "l2"]


@dataclass(frozen=True, kw_only=True)
class Quantizers:
    """The options of every quantizer; those of the one that was not chosen do nothing."""

    ema: EmaConfig = field(default_factory=EmaConfig)  # moving averages, restarts: the default
    ibq: IbqConfig = field(default_factory=IbqConfig)  # index backpropagation
    fsq: FsqConfig = field(default_factory=FsqConfig)  # a fixed grid
    simvq: SimvqConfig = field(default_factory=SimvqConfig)  # a frozen table behind a learned matrix
    l2: L2Config = field(default_factory=L2Config)  # directions in few dims

    def named(self, kind: str) -> Quantizer:
        """Return the one of this name; raises ConfigError that lists the names there are."""
        names = [f.name for f in fields(self)]
        if kind not in names:
            raise ConfigError(f"quantizer must be one of {', '.join(names)}, got {kind!r}")
        chosen: Quantizer = getattr(self, kind)
        return chosen
