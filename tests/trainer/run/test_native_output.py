from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from trainer.run.native_output import end_of_native_output

_PRINT = """
import os, sys
from pathlib import Path
from trainer.run.native_output import separate_native_output
print("before")
separate_native_output(Path(sys.argv[1]) if sys.argv[1] else None, errors=bool(sys.argv[2]))
os.write(1, b"native ")
os.write(2, b"error")
print("after", os.getpid())
print("said", file=sys.stderr)
"""


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("errors", [True, False])
def test_what_native_libraries_print_is_kept_or_dropped_and_what_python_prints_is_shown(
    tmp_path: Path, kept: bool, errors: bool
) -> None:
    folder = tmp_path / "native" if kept else None
    command = [sys.executable, "-c", _PRINT, str(folder or ""), "errors" if errors else ""]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    *shown, process = done.stdout.split()
    assert shown == ["before", "after"]
    assert done.stderr == ("said\n" if errors else "errorsaid\n")
    if folder is not None:
        assert end_of_native_output(folder, int(process)) == ("native error" if errors else "native")


def test_a_process_that_printed_nothing_has_no_end(tmp_path: Path) -> None:
    assert end_of_native_output(tmp_path, 1) == ""
