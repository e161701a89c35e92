"""Workers that share no disk with the driver: their commands run in a mount namespace, with a folder that is empty."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

_MOUNT = 'mount -t tmpfs none "$0" && mkdir "$0/tmp" && exec env TMPDIR="$0/tmp" "$@"'
_WAYS = (["unshare", "--mount"], ["unshare", "--map-root-user", "--mount"])


def on_own_disk(hidden: Path) -> Sequence[str]:
    """Return what to put before a command so that it sees an empty folder in place of `hidden`, with its own TMPDIR.

    Skips the test where the kernel or the container forbids that.
    """
    reasons = []
    for way in _WAYS:
        command = [*way, "sh", "-c", _MOUNT, str(hidden)]
        try:
            tried = subprocess.run([*command, "true"], capture_output=True, text=True)
        except FileNotFoundError:
            pytest.skip("unshare is not installed")
        if not tried.returncode:
            return command
        reasons.append(tried.stderr.strip())
    pytest.skip(f"no mount namespaces here: {'; '.join(reasons)}")
