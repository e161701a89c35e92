"""The command `serve`: a model behind OpenAI's interface, with a page to chat."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Annotated

from tyro.conf import OmitArgPrefixes, Positional

from pipeline.inference.config import LocalConfig
from pipeline.inference.loading import load_chat
from pipeline.serving.app import Served
from pipeline.serving.config import Access, Limits
from pipeline.serving.server import serve
from pipeline.serving.worker import EngineWorker
from schemas.errors import UsageError
from schemas.storage.option import Address
from trainer.inference.engine import EngineConfig


@dataclass(frozen=True, kw_only=True)
class Serve:
    """Answer requests of OpenAI's interface with a trained model, and show a page to chat with it.

    SIGTERM and Ctrl-C end the server when the replies that run are complete.
    """

    model: Positional[Address]
    """Output folder of `longreel train` or `longreel import-model`, or its address in a bucket."""
    name: str | None = None
    """Name of the model for clients. Default: that of the folder."""
    rows: int = 4
    """Requests that are answered together; the others wait."""
    cache_tokens: int | None = None
    """Tokens whose keys and values there is room for. Default: as many as the rows need."""
    grace_s: float = 30.0
    """Seconds that running requests get to complete after SIGTERM."""
    access: Annotated[Access, OmitArgPrefixes] = field(default_factory=Access)
    limits: Annotated[Limits, OmitArgPrefixes] = field(default_factory=Limits)
    local: Annotated[LocalConfig, OmitArgPrefixes] = field(default_factory=LocalConfig)

    def __call__(self, options: tuple[str, ...]) -> None:
        """Answer requests until a signal arrives."""
        root = self.access.media_root
        if root is not None and not root.is_dir():
            raise UsageError(f"--media-root must be a folder, got {root}")
        config = EngineConfig(
            rows=self.rows,
            cache_tokens=self.cache_tokens,
            cache_dtype=self.local.cache_dtype,
            weight_dtype=self.local.weight_dtype,
        )
        engine, prompts = load_chat(self.model, self.local, config)
        name = self.name or os.path.realpath(str(self.model)).rpartition("/")[2]
        serve(Served(name, prompts, EngineWorker(engine)), self.access, self.limits, grace_s=self.grace_s)
