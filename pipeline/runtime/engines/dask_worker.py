"""Set-up of the worker processes that the driver starts on its own machine; Dask imports it in each by its name.

Ctrl-C at a terminal goes to all processes of a command. The driver asks the workers to write what they made and then
ends them; a worker that the signal ended would lose that, and print a traceback.
"""

from __future__ import annotations

import signal
from typing import Any


def dask_setup(worker: Any) -> None:
    """Ignore Ctrl-C; called in a worker when it starts, and when it starts again."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
