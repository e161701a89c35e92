"""The decoder backends: a name for the `backend` option, and the class that opens a video.

To add a backend, write a module in this folder with a class that implements
`pipeline.video.backends.source.FrameSource`, and add it to `_BUILT_IN`. Backends are named by import path, so that a
decoder library is loaded only in the decoder process, and only if it is selected.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from schemas.errors import ConfigError


@dataclass(frozen=True)
class Backend:
    """One decoder backend. `target` is "module:Class", called as Class(path, size=, max_pixels=)."""

    name: str
    target: str

    def load(self) -> Callable[..., Any]:
        """Import the backend's class. Raises ImportError where its library is not installed."""
        module, _, attribute = self.target.partition(":")
        opener: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
        return opener


_BUILT_IN = (
    Backend("pyav", "pipeline.video.backends.pyav:PyAVSource"),
    Backend("decord", "pipeline.video.backends.decord:DecordSource"),
)
# Still pictures and animations always use Pillow, whichever backend is selected for videos.
PICTURES = Backend("pillow", "pipeline.video.backends.pillow:PictureSource")

_backends = {backend.name: backend for backend in _BUILT_IN}


def register_backend(backend: Backend) -> None:
    """Add a backend from outside this package; the decoder process receives it with its configuration.

    Raises ConfigError where another backend has this name.
    """
    if _backends.get(backend.name, backend) != backend:
        raise ConfigError(f"a backend named {backend.name!r} is already registered: {_backends[backend.name].target}")
    _backends[backend.name] = backend


def require_backend(name: str) -> Backend:
    """Return the backend with this name. Raises ConfigError where there is none."""
    if name not in _backends:
        raise ConfigError(f"backend must be one of {', '.join(_backends)}; got {name!r}")
    return _backends[name]
