"""Commands that run in a mount namespace: with an empty folder, as workers that share no disk, or on a small disk."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

_MOUNT = 'mount -t tmpfs none "$0" && mkdir "$0/tmp" && exec env TMPDIR="$0/tmp" "$@"'
_SMALL = """
mount -t tmpfs -o size={kib}k none "$0" && mkdir -p {kept} || exit 1
"$@" > {kept}/first 2>&1; echo $? >> {kept}/first
mount -o remount,size=64m "$0" && "$@" > {kept}/second 2>&1; echo $? >> {kept}/second
cp -r "$0" {kept}/disk
"""
_WAYS = (["unshare", "--mount"], ["unshare", "--map-root-user", "--mount"])


def on_own_disk(hidden: Path) -> Sequence[str]:
    """Return what to put before a command so that it sees an empty folder in place of `hidden`, with its own TMPDIR.

    Skips the test where the kernel or the container forbids that.
    """
    return _mounting(_MOUNT, hidden)


def on_small_disk(mount: Path, kib: int, kept: Path) -> Sequence[str]:
    """Return what to put before a command so that it runs twice with a disk at `mount`: of `kib` KiB, then of 64 MiB.

    What it prints and its exit codes are then in the folder `kept`, and what it wrote to the disk in `kept/disk`. Skips
    the test where the kernel or the container forbids that.
    """
    return _mounting(_SMALL.format(kib=kib, kept=shlex.quote(str(kept))), mount)


def _mounting(script: str, place: Path) -> Sequence[str]:
    reasons = []
    for way in _WAYS:
        command = [*way, "sh", "-c", script, str(place)]
        try:
            tried = subprocess.run([*command, "true"], capture_output=True, text=True)
        except FileNotFoundError:
            pytest.skip("unshare is not installed")
        if not tried.returncode:
            return command
        reasons.append(tried.stderr.strip())
    pytest.skip(f"no mount namespaces here: {'; '.join(reasons)}")
