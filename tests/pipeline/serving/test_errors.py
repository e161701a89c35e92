"""What clients are told about errors: reasons that help them, and nothing about defects."""

from __future__ import annotations

import pytest
from starlette.exceptions import HTTPException

from pipeline.language_models.chat import RequestRefused
from pipeline.serving.errors import ApiError, api_error
from schemas.errors import ConfigError, InputError, JobError, Reason


@pytest.mark.parametrize(
    ("error", "status", "kind", "code"),
    [
        (ApiError(413, "large"), 413, "invalid_request_error", None),
        (ApiError(429, "full", retry_s=5), 429, "rate_limit_error", None),
        (HTTPException(404, "Not Found"), 404, "invalid_request_error", None),
        (RequestRefused("too long"), 400, "invalid_request_error", "context_length_exceeded"),
        (ConfigError("bad"), 400, "invalid_request_error", None),
        (InputError(Reason.UNREADABLE, "no picture"), 400, "invalid_request_error", None),
        (JobError("the engine failed"), 500, "server_error", None),
    ],
)
def test_an_error_has_a_status_a_type_and_its_message(
    error: Exception, status: int, kind: str, code: str | None
) -> None:
    told = api_error(error)
    facts = told.body["error"]
    assert (told.status, facts["type"], facts["code"]) == (status, kind, code)
    assert facts["message"]


def test_a_defect_is_not_told() -> None:
    told = api_error(KeyError("/secret/path"))
    assert told.status == 500
    assert "secret" not in str(told)
