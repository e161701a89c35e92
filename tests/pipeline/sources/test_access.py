"""Options that say what may be read."""

from __future__ import annotations

import pytest

from pipeline.sources.access import AccessConfig, require_allowed, schemes_of
from schemas.errors import ConfigError, InputError


@pytest.mark.parametrize(
    ("uri", "schemes"),
    [
        ("https://host/a", ["https"]),
        ("HTTPS://host/a", ["https"]),
        ("zip://a.txt::s3://bucket/a.zip", ["zip", "s3"]),
        ("simplecache::https://host/a", ["simplecache", "https"]),
        ("zip://a.txt::/etc/a.zip", ["zip", "file"]),
        ("c://etc/passwd", ["file"]),
        ("://etc/passwd", ["file"]),
    ],
)
def test_schemes_are_those_that_fsspec_opens(uri: str, schemes: list[str]) -> None:
    assert schemes_of(uri) == schemes


def test_the_user_can_allow_a_scheme() -> None:
    with pytest.raises(InputError, match="--allow-schemes ftp allows them"):
        require_allowed("ftp://host/a", AccessConfig())
    require_allowed("ftp://host/a", AccessConfig(allow_schemes=("ftp",)))


def test_a_scheme_that_would_start_a_cluster_is_never_allowed() -> None:
    with pytest.raises(InputError, match="'dask' cannot be read"):
        require_allowed("dask://x", AccessConfig(allow_schemes=("dask",)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"allow_schemes": ("ftp://",)}, "expected a URL scheme such as ftp, got 'ftp://'"),
        ({"allow_hosts": ("http://host",)}, "expected a host name, an address or a network, got 'http://host'"),
        ({"allow_hosts": ("10.0.0.0/99",)}, "got '10.0.0.0/99'"),
        ({"allow_buckets": ("my-bucket",)}, "expected s3://NAME or gs://NAME, got 'my-bucket'"),
        ({"allow_buckets": ("s3://a/b",)}, "got 's3://a/b'"),
        ({"fetch_attempts": 0}, "fetch_attempts must be at least 1, got 0"),
        ({"fetch_timeout_s": 0.0}, "fetch_timeout_s must be greater than 0, got 0.0"),
        ({"fetch_max_wait_s": float("nan")}, "fetch_max_wait_s must be greater than 0, got nan"),
    ],
)
def test_invalid_options_are_errors(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        AccessConfig(**options)  # type: ignore[arg-type]
