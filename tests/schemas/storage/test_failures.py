from __future__ import annotations

import pytest

from schemas.errors import Conflict, StorageError
from schemas.storage import failures
from schemas.storage.failures import Failure, Kind, RequestFailed, Requests


def _failing(kind: Kind, times: int) -> tuple[Requests, list[int]]:
    attempts: list[int] = []
    requests = Requests("s3://bucket", unreachable="Check the network", denied="Check the keys")

    def request(attempt: int) -> str:
        attempts.append(attempt)
        if attempt < times:
            raise RequestFailed(Failure(kind, "HTTP 503"))
        return "result"

    requests.call = lambda: requests.send("s3://bucket/x", request)  # type: ignore[attr-defined]
    return requests, attempts


@pytest.mark.parametrize("kind", [Kind.BUSY, Kind.NO_ANSWER])
def test_a_request_that_may_pass_is_repeated(kind: Kind) -> None:
    requests, attempts = _failing(kind, 3)
    assert requests.call() == "result"  # type: ignore[attr-defined]
    assert attempts == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        (Kind.ABSENT, FileNotFoundError, "s3://bucket/x"),
        (Kind.PAST_END, EOFError, "s3://bucket/x ends before"),
        (Kind.CONFLICT, Conflict, "s3://bucket/x was written by another process"),
        (Kind.NO_BUCKET, StorageError, "the bucket s3://bucket does not exist"),
        (Kind.DENIED, StorageError, r"access denied \(HTTP 503\). Check the keys"),
        (Kind.INVALID_NAME, StorageError, "the object name HTTP 503 has an empty part"),
        (Kind.REFUSED, StorageError, r"refuses the request \(HTTP 503\). Check the network"),
    ],
)
def test_a_request_that_cannot_pass_is_sent_once(kind: Kind, error: type[Exception], message: str) -> None:
    requests, attempts = _failing(kind, 1)
    with pytest.raises(error, match=message):
        requests.call()  # type: ignore[attr-defined]
    assert attempts == [0]


def test_a_store_that_has_answered_before_is_asked_for_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failures, "FIRST_PATIENCE_S", 0.0)
    requests, attempts = _failing(Kind.NO_ANSWER, 3)
    with pytest.raises(StorageError, match="cannot be reached"):
        requests.call()  # type: ignore[attr-defined]
    requests.send("s3://bucket/y", lambda _: None)
    assert requests.call() == "result"  # type: ignore[attr-defined]
    assert attempts == [0, 0, 1, 2, 3]
