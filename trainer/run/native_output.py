"""Separates what native libraries print from the output of Python, in runs of several processes.

Gloo prints a line whenever processes connect; when one is lost, XLA ends the others and prints the addresses of their
stacks. The launcher keeps this in a file for each process, and shows its end if a process crashes.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

NATIVE_OUTPUT = "LONGREEL_NATIVE_OUTPUT"  # the folder in which the launcher reads it

_SHOWN_BYTES = 16_384


def separate_native_output(folder: Path | None, *, errors: bool) -> None:
    """Write what native libraries print from now on to a file in `folder`, or nowhere; errors only if `errors`.

    Python's own output goes where it went before.
    """
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    target = os.devnull if folder is None else path_of(folder, os.getpid())
    for name in ("stdout", "stderr") if errors else ("stdout",):
        stream = getattr(sys, name)
        stream.flush()
        descriptor = stream.fileno()
        kept = os.fdopen(os.dup(descriptor), "w", buffering=1, encoding=stream.encoding, errors=stream.errors)
        with open(target, "ab") as file:  # noqa: PTH123 - os.devnull is no Path
            os.dup2(file.fileno(), descriptor)
        setattr(sys, name, kept)


def path_of(folder: Path, process: int) -> Path:
    """Return the file of a process of this machine."""
    return folder / f"native-{os.uname().nodename}-{process}.log"


def end_of_native_output(folder: Path, process: int) -> str:
    """Return the last lines that the native libraries of a process printed, "" if there are none."""
    path = path_of(folder, process)
    if not path.exists():
        return ""
    return path.read_bytes()[-_SHOWN_BYTES:].decode(errors="replace").strip()
