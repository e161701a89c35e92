"""What inputs may be read: options, and the rule for URL schemes.

`http_client` checks hosts, `links` links, `given_buckets` buckets.

A manifest, a link or a server names addresses that the user has not seen. By default none of them leads to a file
outside of the given folders, to another kind of storage, or into the network of the machine that reads it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network

import fsspec
from tyro.conf import UseAppendAction

from schemas.errors import ConfigError, InputError, Reason

SCHEMES = ("http", "https", "s3", "gs")
_NO_STORAGE = ("dask",)  # of fsspec; opening one starts a cluster of workers
_SCHEME = re.compile(r"[a-z][a-z0-9+._-]*")
_BUCKETS = re.compile(r"(s3|gs)://[a-z0-9*?._-]+")


@dataclass(frozen=True, kw_only=True)
class AccessConfig:
    """What inputs may be read, and how long to wait for servers."""

    follow_links: bool = False
    """Follow symbolic links that lead out of the given folders, and links to folders. Default: such items are rejected
    (`not_allowed`), and links to folders are skipped."""
    allow_schemes: UseAppendAction[tuple[str, ...]] = ()
    """A URL scheme that items may have besides http, https, s3 and gs, for example `file`, `ftp`, `hf`, `az` or `zip`.
    Repeat the option for several."""
    allow_buckets: UseAppendAction[tuple[str, ...]] = ()
    """A bucket that rows of a manifest may name although no input is in it, such as `s3://name` or `gs://name-*`: they
    are read with your credentials. Repeat the option for several."""
    allow_hosts: UseAppendAction[tuple[str, ...]] = ()
    """A host name, address or network (10.0.0.0/8) that http and https URLs and redirects may reach although it is not
    public: loopback, link-local and private addresses are refused otherwise. Repeat the option for several."""
    fetch_attempts: int = 4
    """How often a request is tried when a server or the network fails."""
    fetch_timeout_s: float = 30.0
    """How long to wait for a connection or for data, in seconds."""
    fetch_max_wait_s: float = 60.0
    """How long an item waits between its attempts, all waits together, in seconds. A longer Retry-After ends them."""

    def __post_init__(self) -> None:
        for scheme in self.allow_schemes:
            if not _SCHEME.fullmatch(scheme):
                raise ConfigError(f"allow_schemes: expected a URL scheme such as ftp, got {scheme!r}")
        for bucket in self.allow_buckets:
            if not _BUCKETS.fullmatch(bucket):
                raise ConfigError(f"allow_buckets: expected s3://NAME or gs://NAME, got {bucket!r}")
        for host in self.allow_hosts:
            if not host or "://" in host or ("/" in host and _network(host) is None):
                raise ConfigError(f"allow_hosts: expected a host name, an address or a network, got {host!r}")
        if self.fetch_attempts < 1:
            raise ConfigError(f"fetch_attempts must be at least 1, got {self.fetch_attempts}")
        for name in ("fetch_timeout_s", "fetch_max_wait_s"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} must be greater than 0, got {getattr(self, name)}")

    @property
    def networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """The addresses and networks among the allowed hosts."""
        return tuple(network for host in self.allow_hosts if (network := _network(host)))

    @property
    def names(self) -> frozenset[str]:
        """The names among the allowed hosts."""
        return frozenset(host.lower().rstrip(".") for host in self.allow_hosts if not _network(host))


STRICT = AccessConfig()
"""The defaults: public hosts, no links that lead out of the given folders."""


def require_allowed(uri: str, access: AccessConfig) -> None:
    """Raise InputError NOT_ALLOWED unless every scheme of a URL is allowed; a chained URL (a::b) has several."""
    for scheme in schemes_of(uri):
        if scheme in _NO_STORAGE:
            raise InputError(Reason.NOT_ALLOWED, f"{uri}: URLs with the scheme {scheme!r} cannot be read")
        if scheme not in SCHEMES and scheme not in access.allow_schemes:
            raise InputError(
                Reason.NOT_ALLOWED,
                f"{uri}: URLs with the scheme {scheme!r} are not allowed; --allow-schemes {scheme} allows them",
            )


def schemes_of(uri: str) -> list[str]:
    """Return the schemes of the parts of a URL, as fsspec takes them: without a scheme, a part is a local file."""
    return [_scheme_of(part) for part in uri.split("::")]


def _scheme_of(part: str) -> str:
    scheme, separator, _ = part.partition("://")
    if separator:
        return scheme.lower() if len(scheme) > 1 else "file"  # a single letter is a drive of Windows
    is_word = part in fsspec.available_protocols() or re.fullmatch(r"[a-z]+", part)
    return part if is_word else "file"


def _network(host: str) -> IPv4Network | IPv6Network | None:
    try:
        return ip_network(host.strip("[]"), strict=False)
    except ValueError:
        return None
