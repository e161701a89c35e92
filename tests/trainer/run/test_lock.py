from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.errors import ConfigError, StorageError
from trainer.run.lock import locked

_HOLD = """
import sys, time
from pathlib import Path
from trainer.run.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.slow
def test_a_second_run_in_a_folder_is_refused_until_the_first_one_ends_or_is_killed(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", _HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        with pytest.raises(ConfigError, match=f"another run is training in {tmp_path}"), locked(tmp_path):
            pass
    finally:
        child.send_signal(signal.SIGKILL)
        child.communicate()
    for _ in range(2):
        with locked(tmp_path):
            pass


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises((StorageError, OSError)), locked(tmp_path / "file" / "run"):
        pass
