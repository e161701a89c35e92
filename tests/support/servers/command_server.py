"""Runs `longreel` commands in processes of their own, forked from one that has imported their modules already.

Starting Python and importing both takes seconds. A fork is safe because the server itself never computes anything.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

_SERVER = """
import gc, importlib, json, os, resource, sys
gc.disable()
main, *modules = sys.argv[1:]
for module in modules:
    importlib.import_module(module)
module, name = main.split(":")
run = getattr(importlib.import_module(module), name)
gc.freeze()
gc.enable()
for line in sys.stdin:
    request = json.loads(line)
    if (child := os.fork()) == 0:
        code = 1
        try:
            if request["file_size"] is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (request["file_size"], request["file_size"]))
            code = run(request["arguments"])
        finally:
            sys.stderr.flush()
            os._exit(code)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class CommandServer:
    """A process that forks for every command. `stderr` collects what all of them print there.

    `main` is the function that runs a command, and `modules` what is imported before.
    """

    def __init__(
        self,
        stderr: Path,
        *,
        main: str = "longreel:main",
        modules: Sequence[str] = ("pipeline.cli.jobs", "pipeline.cli.run", "pipeline.runtime.dofns"),
    ) -> None:
        self.stderr = stderr
        with stderr.open("w") as f:
            self._server = subprocess.Popen(
                [sys.executable, "-c", _SERVER, main, *modules],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=f,
                text=True,
                env={**os.environ, "PYTHONHASHSEED": "1"},
                start_new_session=True,
            )

    def run(
        self,
        arguments: Sequence[str],
        during: Callable[[int], None] = lambda pid: None,
        *,
        file_size: int | None = None,
    ) -> int:
        """Run one command and return its exit code, the negative signal number if it was killed.

        `during` is called with the process id meanwhile; no file of the process grows beyond `file_size` bytes.
        """
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        watchdog = threading.Timer(120, self._kill)  # Beam's local processes wait forever for one that is lost
        watchdog.start()
        try:
            self._server.stdin.write(json.dumps({"arguments": list(arguments), "file_size": file_size}) + "\n")
            self._server.stdin.flush()
            during(int(self._server.stdout.readline()))
            return int(self._server.stdout.readline())
        finally:
            watchdog.cancel()

    def close(self) -> None:
        """End the server and every process that it started."""
        self._kill()
        self._server.communicate()

    def _kill(self) -> None:
        if self._server.poll() is None:
            os.killpg(self._server.pid, signal.SIGKILL)
