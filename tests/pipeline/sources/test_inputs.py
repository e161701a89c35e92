"""Local, remote and tabular inputs as local files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import fsspec
import pytest

from pipeline.sources.access import AccessConfig
from pipeline.sources.inputs import hash_input, local_file, stat
from schemas.errors import InputError, Reason

MEMORY = AccessConfig(allow_schemes=("memory",))


def reason_of(uri: str, *, max_bytes: int = 100) -> Reason:
    with pytest.raises(InputError) as e, local_file(uri, max_bytes=max_bytes, access=MEMORY):
        pass
    return e.value.reason


def test_local_file_is_not_copied(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    with local_file(str(tmp_path / "a"), max_bytes=3) as path:
        assert path.samefile(tmp_path / "a")
    assert stat(str(tmp_path / "a")).size_bytes == 3


def test_remote_file_is_copied_and_the_copy_removed() -> None:
    with fsspec.open("memory://folder/a.txt", "wb") as f:
        f.write(b"remote")
    with local_file("memory://folder/a.txt", max_bytes=100, access=MEMORY) as path:
        assert path.read_bytes() == b"remote"
        assert path.suffix == ".txt"
    assert not path.exists()
    assert stat("memory://folder/a.txt", MEMORY).size_bytes == 6


def test_inputs_that_cannot_be_opened_have_a_reason(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert reason_of(str(tmp_path / "b")) is Reason.MISSING
    assert reason_of(str(tmp_path)) is Reason.UNREADABLE
    assert reason_of("a\0b") is Reason.MISSING
    assert reason_of(str(tmp_path / "a"), max_bytes=2) is Reason.TOO_LARGE
    assert reason_of("memory://absent") is Reason.MISSING
    assert reason_of("nosuchprotocol://x/y") is Reason.NOT_ALLOWED


def test_changed_file_has_another_version(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    before = stat(str(tmp_path / "a"))
    (tmp_path / "a").write_bytes(b"abcd")
    assert stat(str(tmp_path / "a")) != before


@pytest.mark.slow
def test_every_scheme_that_fsspec_knows_gives_a_reason_in_time() -> None:
    """A subprocess with a time limit, as a scheme could also wait for ever or end the process."""
    run = subprocess.run([sys.executable, "-c", _ALL_SCHEMES], capture_output=True, text=True, timeout=120, check=False)
    reasons = dict(line.split(" ", 1) for line in run.stdout.splitlines())
    expected = {uri.format(scheme) for scheme in fsspec.available_protocols() for uri in _SCHEME_URIS}
    assert reasons.keys() == expected, run.stderr
    clusters = {uri.format("dask") for uri in _SCHEME_URIS}
    assert {uri for uri, reason in reasons.items() if reason == "not_allowed"} == expected & clusters
    assert set(reasons.values()) <= {"missing", "unreachable", "unreadable", "not_allowed"}


_SCHEME_URIS = ("{}://x.invalid", "{}://", "{}://x::file:///not-a-zip")
_ALL_SCHEMES = f"""
import fsspec
from pipeline.sources.access import AccessConfig
from pipeline.sources.inputs import local_file
from schemas.errors import InputError
schemes = tuple(fsspec.available_protocols())
access = AccessConfig(allow_schemes=schemes, fetch_attempts=1, fetch_timeout_s=5)
for scheme in fsspec.available_protocols():
    for uri in {_SCHEME_URIS}:
        try:
            with local_file(uri.format(scheme), max_bytes=1 << 20, access=access):
                print(uri.format(scheme), "opened", flush=True)
        except InputError as e:
            print(uri.format(scheme), e.reason, flush=True)
"""


def test_an_input_output_error_is_unreachable() -> None:
    with pytest.raises(InputError) as e:
        hash_input(Path("/proc/self/mem"), "a.mp4")  # no page is mapped at its beginning
    assert e.value.reason is Reason.UNREACHABLE
    assert str(e.value) == "a.mp4: Input/output error"


def _refuse(path: Path, *, ours: bool) -> None:
    raise InputError(Reason.EMPTY, f"{path} is empty") if ours else OSError(f"{path} is empty")


@pytest.mark.parametrize("ours", [True, False])
def test_errors_name_the_address_and_not_the_temporary_copy(ours: bool) -> None:
    uri = "memory://copies/a.mp4"
    with fsspec.open(uri, "wb") as f:
        f.write(b"x")
    with pytest.raises(InputError) as e, local_file(uri, access=MEMORY) as path:
        _refuse(path, ours=ours)
    assert str(path) not in str(e.value)
    assert str(e.value).endswith(f"{uri} is empty")
