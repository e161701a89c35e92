"""Mutual exclusion of the processes that change a workspace or a dataset.

On a local file, a lock of the operating system, which ends with the process. In a bucket, an object `.NAME.lease` next
to the object NAME: it names its owner and when it expires, its owner renews it, and every change of it is a conditional
write. Another process may take over when its owner was a process of the same machine that no longer runs, or when it
has expired and is not renewed for the time of a lease: clocks of machines may differ, and clocks are set. One that
expires later than the time of a lease from now was written by another clock, and counts as expired, too.

A process that was stopped or lost the network for longer than its lease may no longer change anything. So every write
and deletion below the folder of a lease (`guards`) is preceded by `Lease.check`, which renews a lease that is about to
expire. That is a conditional write, which fails if another process took over.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from schemas.errors import Conflict, LeaseHeld, StorageError, storage_errors
from schemas.storage.guards import guarded
from schemas.storage.location import Location
from schemas.storage.store import Stat

_RENEWALS = 3  # in the time of a lease
_MARGIN = 0.25  # share of that time before its end in which no change is sent any more, as requests take time
_RELEASED = 0.0  # when a lease expires that its owner has given back


class Lease:
    """A lease that is held."""

    def check(self) -> None:
        """Raise LeaseHeld if another process may have taken over."""


@contextmanager
def lease(location: Location, *, owner: str, ttl_s: float = 60.0) -> Iterator[Lease]:
    """Exclude other processes from `location`, a file that exists, while the body runs.

    `owner` is named to others. In a bucket the lease expires `ttl_s` seconds after its last renewal. Raises LeaseHeld
    if another process holds it, and at the end of the body if another one took over meanwhile.
    """
    with _locked(location) if location.is_local else _leased(location, owner, ttl_s) as held:
        yield held


@contextmanager
def _locked(location: Location) -> Iterator[Lease]:
    with storage_errors(location):
        file = location.local().open("rb+")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            raise LeaseHeld(f"{location} is in use by another longreel command; wait until it ends") from e
        except OSError:  # a file system without locks: the user has to run one command at a time
            pass
        yield Lease()


@dataclass(frozen=True)
class _Record:
    """The content of a lease object. Times are seconds since 1970."""

    owner: str
    expires: float
    machine: str
    pid: int
    started: str  # of the process, in ticks since the machine started
    token: str  # so that no two records are equal

    @property
    def is_free(self) -> bool:
        """Whether another process may take over at once."""
        return self.expires == _RELEASED or (bool(self.machine) and self._is_dead())

    def may_be_left(self, ttl_s: float) -> bool:
        """Whether it has expired, or it is not known when it does."""
        return not 0 < self.expires - time.time() <= ttl_s

    def _is_dead(self) -> bool:
        return self.machine == _machine() and self.started != _started(self.pid)

    def to_json(self) -> bytes:
        return json.dumps(asdict(self)).encode()


class _BucketLease(Lease):
    def __init__(self, place: Location, record: _Record, version: str, ttl_s: float, *, sent: float) -> None:
        self._place, self._record, self._version, self._ttl_s = place, record, version, ttl_s
        self._until = sent + ttl_s
        self._is_lost = False
        self._writing = threading.Lock()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._renew_until_end, daemon=True, name="lease")
        self._thread.start()

    def check(self) -> None:
        if not self._is_lost and self._is_fresh():
            return
        self._renew()
        if self._is_lost:
            raise LeaseHeld(
                f"the lease {self._place} expired and another longreel command took over, so this one stops. Check the "
                "network and the clock, and run it again when the other has ended"
            )

    def release(self) -> None:
        """Stop renewals and let the lease expire now, if it is still held."""
        self._end.set()
        self._thread.join()
        with contextlib.suppress(StorageError), self._writing:  # it expires by itself
            if not self._is_lost:
                self._write(expires=_RELEASED)

    def _is_fresh(self) -> bool:
        """Whether a request that is sent now arrives before the lease expires."""
        return self._until - _now() > _MARGIN * self._ttl_s

    def _renew(self) -> None:
        """Renew the lease unless another thread just has, or it is lost; raises LeaseHeld if that is not known."""
        try:
            with self._writing:
                if not self._is_lost and not self._is_fresh():
                    self._write(expires=time.time() + self._ttl_s)
        except Conflict:
            return
        except StorageError as e:
            message = f"the lease {self._place} expires and cannot be renewed, so this command stops: {e}"
            raise LeaseHeld(message) from e

    def _renew_until_end(self) -> None:
        while not self._end.wait(self._ttl_s / _RENEWALS) and not self._is_lost:
            with contextlib.suppress(StorageError), self._writing:  # it is tried again until the lease expires
                self._write(expires=time.time() + self._ttl_s)

    def _write(self, *, expires: float) -> None:
        """Replace the lease, if it is still ours."""
        sent = _now()
        self._record = replace(self._record, expires=expires, token=uuid.uuid4().hex)
        try:
            self._version = self._place.write(self._record.to_json(), if_version=self._version)
        except Conflict:
            self._is_lost = True
            raise
        self._until = sent + self._ttl_s


@contextmanager
def _leased(location: Location, owner: str, ttl_s: float) -> Iterator[Lease]:
    place = location.with_name(f".{location.name}.lease")
    record = _Record(owner, time.time() + ttl_s, _machine(), os.getpid(), _started(os.getpid()), uuid.uuid4().hex)
    version, sent = _acquire(location, place, record, ttl_s)
    held = _BucketLease(place, record, version, ttl_s, sent=sent)
    try:
        with guarded(str(location.parent), held.check):
            yield held
        held.check()
    finally:
        held.release()


def _acquire(location: Location, place: Location, record: _Record, ttl_s: float) -> tuple[str, float]:
    """Write the lease; return its version, and when it was sent. Raises LeaseHeld."""
    found = place.stat()
    holder = _read(place) if found is not None else None
    if holder is not None and not (
        holder.is_free or (holder.may_be_left(ttl_s) and not _is_renewed(place, found, ttl_s))
    ):
        left_s = ttl_s if holder.may_be_left(ttl_s) else max(1.0, holder.expires - time.time())
        raise LeaseHeld(
            f"{location} is in use by another longreel command ({holder.owner}); wait until it ends. If it was killed, "
            f"its lease expires in {left_s:.0f} s"
        )
    sent = _now()
    record = replace(record, expires=time.time() + ttl_s)
    try:
        if found is None:
            return place.write(record.to_json(), if_absent=True), sent
        return place.write(record.to_json(), if_version=found.version), sent
    except Conflict as e:
        raise LeaseHeld(f"{location} is in use by another longreel command, which started at the same time") from e


def _is_renewed(place: Location, found: Stat | None, ttl_s: float) -> bool:
    """Whether a lease changes within the time in which its owner renews it, by a clock that nobody sets."""
    until = time.monotonic() + ttl_s
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(left, ttl_s / _RENEWALS))
        if place.stat() != found:
            return True
    return False


def _read(place: Location) -> _Record | None:
    """Return a lease; None if there is none, or what is there is no lease."""
    try:
        return _Record(**json.loads(place.read()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _now() -> float:
    """Return the seconds since the machine started, which count while it sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _machine() -> str:
    """Return a name of the machine and the namespace of its processes; "" where there is none."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{socket.gethostname()} {boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _started(pid: int) -> str:
    """Return when a process of this machine started; "" if it does not run."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return ""
    return "" if state == "Z" else fields[18]
