from __future__ import annotations

import os

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


def test_a_child_process_has_no_guards() -> None:
    with guarded("s3://b/ws", _refuse):
        if (child := os.fork()) == 0:
            code = 1
            try:
                check_guards("s3://b/ws/a")
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
