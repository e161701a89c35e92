"""The options of the server. Imports nothing heavy."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import ConfigError, UsageError


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What requests may use. More than that is refused, with the reason."""

    max_body_mb: float = 64.0
    """Largest body of a request in megabytes, with pictures and videos in it."""
    max_reply_tokens: int | None = None
    """Largest number of tokens of a reply. Default: what the model's context leaves."""
    queue: int = 32
    """Requests that may wait for a free row. More are answered with status 429."""
    timeout_s: float = 600.0
    """Seconds that a request may take, from its last byte to the last byte of the reply."""
    body_timeout_s: float = 30.0
    """Seconds that a client may take to send a request."""
    connections: int = 256
    """Connections at a time. More are answered with status 503."""

    def __post_init__(self) -> None:
        for name in ("max_body_mb", "timeout_s", "body_timeout_s"):
            if not 0 < getattr(self, name) < 1e9:
                raise ConfigError(f"{name} must be above 0 and below 1e9, got {getattr(self, name)}")
        if self.queue < 0 or self.connections < 1 or (self.max_reply_tokens is not None and self.max_reply_tokens < 1):
            raise ConfigError(
                "queue must be at least 0, connections and max_reply_tokens at least 1, "
                f"got {self.queue}, {self.connections} and {self.max_reply_tokens}"
            )

    @property
    def body_bytes(self) -> int:
        """Largest body in bytes."""
        return int(self.max_body_mb * 1e6)


@dataclass(frozen=True, kw_only=True)
class Access:
    """Who may use the server, and which files they may name."""

    host: str = "127.0.0.1"
    """Address to listen at. Default: only this machine can connect."""
    port: int = 8000
    """Port to listen at; 0 chooses a free one."""
    api_key: str | None = None
    """Key that clients must send. Default: the variable LONGREEL_API_KEY; without it, everyone who can connect."""
    media_root: Path | None = None
    """Folder whose pictures and videos requests may name with file:// URLs. Default: none."""

    def __post_init__(self) -> None:
        if not 0 <= self.port < 1 << 16:
            raise UsageError(f"port must lie in 0..65535, got {self.port}")
        if self.api_key is not None and not self.api_key.strip():
            raise UsageError("api_key must not be empty")

    @property
    def key(self) -> str | None:
        """The key, from the option or the environment."""
        return self.api_key or os.environ.get("LONGREEL_API_KEY") or None

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"
