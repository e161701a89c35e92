"""The registry of quantizers. To add one, write its module in this folder and add a field to `Quantizers`."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from schemas.errors import ConfigError
from tokenizer.quantizers.base import Quantizer
from tokenizer.quantizers.ema import EmaConfig
from tokenizer.quantizers.fsq import FsqConfig
from tokenizer.quantizers.ibq import IbqConfig
from tokenizer.quantizers.l2 import L2Config
from tokenizer.quantizers.simvq import SimvqConfig


@dataclass(frozen=True, kw_only=True)
class Quantizers:
    """One field per quantizer: its name and its options. Options of the quantizers that are not selected are unused."""

    ema: EmaConfig = field(default_factory=EmaConfig)  # moving averages with restarts: the default
    ibq: IbqConfig = field(default_factory=IbqConfig)  # index backpropagation
    fsq: FsqConfig = field(default_factory=FsqConfig)  # a fixed grid
    simvq: SimvqConfig = field(default_factory=SimvqConfig)  # a frozen table and a learned matrix
    l2: L2Config = field(default_factory=L2Config)  # normalized codes in few dims

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Return the names of all quantizers."""
        return tuple(f.name for f in fields(cls))

    def get(self, name: str) -> Quantizer:
        """Return the quantizer with this name and its options; raises ConfigError that lists the known names."""
        if name not in self.names():
            raise ConfigError(f"quantizer must be one of {', '.join(self.names())}, got {name!r}")
        quantizer: Quantizer = getattr(self, name)
        return quantizer
