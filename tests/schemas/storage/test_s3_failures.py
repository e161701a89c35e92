from __future__ import annotations

from schemas.storage.failures import Kind
from schemas.storage.s3_failures import failure


def test_answers_are_told_apart() -> None:
    assert failure("status code: 503 Service Unavailable: <Code>SlowDown</Code>", None).kind is Kind.BUSY
    assert failure("status code: 409 Conflict", Kind.CONFLICT).kind is Kind.BUSY
    assert failure("status code: 412 Precondition Failed", Kind.CONFLICT).kind is Kind.CONFLICT
    assert failure("status code: 301 Moved", None).text == "HTTP 301: the bucket is in another region"
    assert failure("PUT http://169.254.169.254/latest/api/token", None).kind is Kind.DENIED


def test_an_answer_that_repeats_the_key_is_not_shown() -> None:
    answer = "status code: 403 Forbidden: <Error><Code>InvalidAccessKeyId</Code><AWSAccessKeyId>AKIA1</AWSAccessKeyId>"
    assert failure(answer, Kind.DENIED).text == "HTTP 403 InvalidAccessKeyId"
