from __future__ import annotations

import subprocess
import sys

import pytest

from schemas.errors import LeaseHeld
from schemas.storage.guards import check_guards, guarded


def _refuse() -> None:
    raise LeaseHeld("lost")


@pytest.mark.parametrize("address", ["s3://b/ws/a", "s3://b/ws/a/b", "s3://b/ws"])
def test_what_is_below_a_guarded_folder_is_checked(address: str) -> None:
    with guarded("s3://b/ws", _refuse), pytest.raises(LeaseHeld):
        check_guards(address)
    check_guards(address)


@pytest.mark.parametrize("address", ["s3://b/ws2/a", "s3://b", "gs://b/ws/a", "s3://b/ws/.workspace.json.lease"])
def test_other_addresses_and_leases_are_not_checked(address: str) -> None:
    with guarded("s3://b/ws", _refuse):
        check_guards(address)


_FORK = """
import os
from schemas.storage.guards import check_guards, guarded

def refuse():
    raise SystemExit(1)

with guarded("s3://b/ws", refuse):
    if (child := os.fork()) == 0:
        check_guards("s3://b/ws/a")
        os._exit(0)
    raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_child_process_has_no_guards() -> None:
    # In a process without JAX, whose threads must not be forked.
    assert subprocess.run([sys.executable, "-c", _FORK], check=False).returncode == 0
