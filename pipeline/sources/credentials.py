"""Credentials in addresses: user names and passwords, and the signatures of presigned URLs.

Addresses are stored in tables, logs and datasets, and they identify items, so one with credentials is refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import parse_qsl

from schemas.errors import ConfigError

_PARAMETERS = {
    *("x-amz-signature", "x-amz-credential", "x-amz-security-token", "awsaccesskeyid"),  # S3
    *("x-goog-signature", "x-goog-credential", "googleaccessid"),  # Google Cloud Storage
    *("signature", "sig", "key-pair-id"),  # S3 and Google in their older forms, CloudFront, Azure
    *("access_token", "api_key"),
}
REMEDY = (
    "credentials are not part of an address, as it is stored; give the address without them (objects of buckets are "
    "read with your own credentials as s3://… or gs://…), or copy the files"
)


def credentials_in(address: str) -> str | None:
    """Return a description of the credentials in an address, None if there are none."""
    for part in address.split("::"):
        _, separator, rest = part.partition("://")
        if not separator:
            continue
        before, _, query = rest.partition("#")[0].partition("?")
        if "@" in before.partition("/")[0]:
            return "a user name or password"
        for name, _ in parse_qsl(query, keep_blank_values=True):
            if name.lower() in _PARAMETERS:
                return f"the parameter {name}"
    return None


def without_credentials(address: str) -> str:
    """Return an address to be shown: without user name, password and query."""
    parts = []
    for part in address.split("::"):
        scheme, separator, rest = part.partition("://")
        authority, slash, path = rest.partition("#")[0].partition("?")[0].partition("/")
        parts.append(f"{scheme}{separator}{authority.rpartition('@')[2]}{slash}{path}" if separator else part)
    return "::".join(parts)


def require_no_credentials(inputs: Iterable[str]) -> None:
    """Raise ConfigError for an input whose address contains credentials."""
    for given in inputs:
        if found := credentials_in(given):
            raise ConfigError(f"{without_credentials(given)}: the address contains {found}; {REMEDY}")
