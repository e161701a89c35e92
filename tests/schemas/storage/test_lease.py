from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from schemas.errors import LeaseHeld
from schemas.storage.lease import Lease, _BucketLease, lease
from schemas.storage.location import Location, located
from tests.support.servers.object_servers import ObjectServer

_HOLD = """
import sys, time
clock = time.time
time.time = lambda: clock() + float(sys.argv[3])
from schemas.storage.lease import lease
from schemas.storage.location import Location
with lease(Location.parse(sys.argv[1]), owner="the other", ttl_s=float(sys.argv[2])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture(params=["local", "s3", "gcs"])
def marker(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    """A file that processes exclude each other from."""
    folder = located(tmp_path) if request.param == "local" else request.getfixturevalue(request.param).bucket()
    location: Location = folder / "workspace.json"
    location.write(b"{}")
    return location


@contextmanager
def _holder(location: Location, ttl_s: float, *, clock_s: float = 0.0) -> Iterator[subprocess.Popen[str]]:
    """Hold a lease in another process, whose clock is `clock_s` ahead."""
    command = [sys.executable, "-c", _HOLD, str(location), str(ttl_s), str(clock_s)]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        yield holder
    finally:
        holder.kill()
        holder.communicate()


def test_a_second_process_is_refused_until_the_first_is_killed(marker: Location) -> None:
    with _holder(marker, 60.0), pytest.raises(LeaseHeld, match=f"{marker} is in use"), lease(marker, owner="me"):
        pass
    with lease(marker, owner="me"):
        pass
    assert marker.parent.list() == [marker]


def test_a_lease_is_free_again_at_the_end_of_the_body(marker: Location) -> None:
    for _ in range(2):
        with lease(marker, owner="me") as held:
            held.check()
            with pytest.raises(LeaseHeld), lease(marker, owner="me again"):
                pass


def test_a_lease_is_renewed_while_its_owner_lives(s3: ObjectServer) -> None:
    marker = s3.bucket() / "workspace.json"
    with _holder(marker, 0.6):
        time.sleep(1.2)
        with pytest.raises(LeaseHeld, match=r"\(the other\).*expires in 1 s"), lease(marker, owner="me"):
            pass


def test_a_lease_of_another_machine_is_taken_over_when_it_has_expired(s3: ObjectServer) -> None:
    marker = s3.bucket() / "workspace.json"
    with _holder(marker, 60.0):
        pass
    _change(marker, machine="another machine", expires=time.time() + 1.0)
    with pytest.raises(LeaseHeld, match="the other"), lease(marker, owner="me", ttl_s=1.2):
        pass
    time.sleep(1.0)
    with lease(marker, owner="me", ttl_s=1.2):
        pass


@pytest.mark.parametrize("clock_s", [-86_400.0, 31_536_000.0], ids=["a day behind", "a year ahead"])
def test_a_wrong_clock_neither_loses_a_lease_nor_keeps_it(s3: ObjectServer, clock_s: float) -> None:
    marker = s3.bucket() / "workspace.json"
    with (
        _holder(marker, 0.6, clock_s=clock_s),
        pytest.raises(LeaseHeld, match="in use"),
        lease(marker, owner="me", ttl_s=0.6),
    ):
        pass
    _change(marker, machine="another machine")  # of which nobody knows whether its process runs
    with lease(marker, owner="me", ttl_s=0.6):
        pass


def test_an_owner_whose_lease_was_taken_over_notices(s3: ObjectServer) -> None:
    marker = s3.bucket() / "workspace.json"

    def lose() -> None:
        with lease(marker, owner="me", ttl_s=0.3) as held:
            _change(marker, owner="a thief")
            time.sleep(0.4)
            held.check()

    with pytest.raises(LeaseHeld, match="another longreel command took over"):
        lose()
    record = json.loads((marker.parent / ".workspace.json.lease").read())
    assert record["owner"] == "a thief"


def test_an_expired_lease_that_nobody_took_over_is_renewed(s3: ObjectServer) -> None:
    marker = s3.bucket() / "workspace.json"
    with lease(marker, owner="me", ttl_s=30.0) as held:
        _expire(held)
        held.check()
        (marker.parent / "x").write(b"x")
        with pytest.raises(LeaseHeld), lease(marker, owner="me again"):
            pass


@pytest.mark.parametrize("server", ["s3", "gcs"])
def test_an_owner_whose_lease_was_taken_over_changes_nothing_more(server: str, request: pytest.FixtureRequest) -> None:
    bucket = request.getfixturevalue(server).bucket()
    marker, outside = bucket / "ws" / "workspace.json", bucket / "ws-other"
    for name in ("a", "b/c"):
        (marker.parent / name).write(b"of the new owner")
    before = [(place, place.read()) for place in marker.parent.walk()]

    def write(place: Location) -> None:
        with place.writing() as path:
            path.write_bytes(b"of the old one")

    def lose() -> None:
        with lease(marker, owner="me", ttl_s=30.0) as held:
            (marker.parent / "a").write(b"of the new owner")
            _change(marker, owner="a thief")
            _expire(held)
            for change in (
                lambda: (marker.parent / "a").write(b"of the old one"),
                lambda: (marker.parent / "new").write(b"of the old one", if_absent=True),
                lambda: write(marker.parent / "b" / "c"),
                (marker.parent / "a").delete,
                (marker.parent / "b").delete_folder,
                marker.parent.delete_folder,
            ):
                with pytest.raises(LeaseHeld, match="another longreel command took over"):
                    change()
            outside.write(b"x")

    with pytest.raises(LeaseHeld):
        lose()
    assert [(place, place.read()) for place in marker.parent.walk()] == before
    assert outside.read() == b"x"


def test_of_sixteen_owners_that_find_an_expired_lease_one_takes_over(s3: ObjectServer) -> None:
    marker = s3.bucket() / "workspace.json"
    with lease(marker, owner="first"):
        pass
    barrier, ends = threading.Barrier(16), threading.Barrier(16)

    def hold(number: int) -> bool:
        barrier.wait()
        try:
            with lease(marker, owner=str(number)):
                ends.wait()
        except LeaseHeld:
            ends.wait()
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(hold, range(16))) == 1


def test_what_is_no_lease_is_replaced(s3: ObjectServer) -> None:
    marker = s3.bucket() / "workspace.json"
    (marker.parent / ".workspace.json.lease").write(b"not JSON")
    with lease(marker, owner="me"):
        pass


def _expire(held: Lease) -> None:
    """Let a lease expire, as if its process had slept."""
    assert isinstance(held, _BucketLease)
    held._until -= 60.0


def _change(marker: Location, **values: object) -> None:
    place = marker.parent / f".{marker.name}.lease"
    place.write(json.dumps({**json.loads(place.read()), **values}).encode())
