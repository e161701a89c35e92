"""JAX's persistent cache of compiled programs, so that a command that is started again does not compile again."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import jax

_MOST_BYTES = 4 << 30  # programs that were not used for the longest time are deleted
_LEAST_COMPILATION_S = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"

_NOT_WRITTEN = "Error writing persistent compilation cache entry"  # the beginning of JAX's warning


def default_folder() -> Path:
    """Return the folder for compiled programs: `longreel/compiled` in the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "longreel" / "compiled"


@contextmanager
def tell_cache_errors(tell: Callable[[str], None]) -> Iterator[None]:
    """Tell once if a program that the body compiles cannot be kept, in place of JAX's warnings for each program."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.filterwarnings("always", message=_NOT_WRITTEN)
        yield
    failed = [str(w.message) for w in caught if re.match(_NOT_WRITTEN, str(w.message))]
    for other in caught:
        if str(other.message) not in failed:
            warnings.warn_explicit(other.message, other.category, other.filename, other.lineno)
    if failed:
        folder, reason = jax.config.values["jax_compilation_cache_dir"], failed[0].rpartition(": ")[2]
        tell(f"compiled programs cannot be kept in {folder} ({reason}): the next start compiles them again")


def use_compilation_cache() -> Path | None:
    """Keep compiled programs between runs, unless JAX's own settings say where, or several CPU devices are used.

    JAX's key of a program covers its code, options, devices and versions. Programs for several virtual CPU devices are
    not kept: loaded from the cache they can deadlock (JAX 0.10, a mesh of data 2 and sequence 4). Returns the folder,
    or None if this function changed nothing.
    """
    devices = jax.devices()
    if jax.config.values["jax_compilation_cache_dir"] or (devices[0].platform == "cpu" and len(devices) > 1):
        return None
    folder = default_folder()
    if not _is_usable(folder):
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_compilation_cache_max_size", _MOST_BYTES)
    if _LEAST_COMPILATION_S not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)  # by default 1: most of a tokenizer's
    return folder


def _is_usable(folder: Path) -> bool:
    """Whether files can be written to the folder, which is created; JAX would warn of every program otherwise."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)
