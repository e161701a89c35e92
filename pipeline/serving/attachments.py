"""Pictures and videos of a request: `data:` URLs, and files in one folder. Nothing else is read, and nothing fetched.

FFmpeg opens only formats that contain their media (pipeline/video/backends/container.py), in a process with limits of
time and memory, so a file cannot name another one.
"""

from __future__ import annotations

import base64
import binascii
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pipeline.language_models.chat import Media, Message
from pipeline.serving.bodies import ChatMessage, ImagePart, TextPart, VideoPart
from pipeline.serving.errors import ApiError

_MOST_MEDIA = 64  # of a request
_SHOWN = 100  # characters of a URL in a message


@dataclass(frozen=True)
class Attachments:
    """Resolves the content of messages.

    Attributes:
        root: the folder that `file:` URLs may name files of; None: no folder.
        can_see: whether the model reads pictures.
    """

    root: Path | None
    can_see: bool

    def messages(self, messages: Sequence[ChatMessage], folder: Path) -> tuple[Message, ...]:
        """Return the messages; the content of `data:` URLs is written to `folder`. Raises ApiError."""
        count = sum(not isinstance(part, TextPart) for message in messages for part in message.parts)
        if count > _MOST_MEDIA:
            raise ApiError(400, f"a request may have {_MOST_MEDIA} pictures and videos, got {count}", param="messages")
        if count and not self.can_see:
            raise ApiError(400, "this server was started without a VQGAN (--vision): send text only", param="messages")
        return tuple(
            Message(
                "system" if message.role == "developer" else message.role,
                tuple(self._part(part, folder / f"{n}-{i}") for i, part in enumerate(message.parts)),
            )
            for n, message in enumerate(messages)
        )

    def _part(self, part: TextPart | ImagePart | VideoPart, scratch: Path) -> str | Media:
        if isinstance(part, TextPart):
            return part.text
        if isinstance(part, ImagePart):
            return Media("image", self._path(part.image_url.url, scratch))
        return Media("video", self._path(part.video_url.url, scratch))

    def _path(self, url: str, scratch: Path) -> Path:
        scheme = url.partition(":")[0].lower()
        if scheme == "data":
            scratch.write_bytes(_data(url))
            return scratch
        if scheme == "file":
            return self._file(url)
        raise ApiError(
            400, f"pictures and videos must be data: or file: URLs; this server fetches nothing, got {url[:_SHOWN]!r}"
        )

    def _file(self, url: str) -> Path:
        """Return the file of a `file:` URL, without links, if it is in the folder."""
        if self.root is None:
            raise ApiError(400, "file: URLs need a server with --media-root; send a data: URL")
        try:
            parts = urlsplit(url)
            root, path = Path(os.path.realpath(self.root)), Path(os.path.realpath(unquote(parts.path, errors="strict")))
            # The same message for all, so that nobody learns which files exist elsewhere.
            is_inside = parts.netloc in ("", "localhost") and not parts.query and not parts.fragment
            if is_inside and path.is_relative_to(root) and stat.S_ISREG(path.stat().st_mode):
                return path
        except (OSError, ValueError):
            pass
        raise ApiError(400, f"no file in the folder of --media-root: {url[:_SHOWN]!r}")


def _data(url: str) -> bytes:
    """Return the content of a `data:` URL."""
    head, comma, content = url.partition(",")
    kind, *options = head.lower().removeprefix("data:").split(";")
    if not comma or "base64" not in options or kind.partition("/")[0] not in ("image", "video"):
        raise ApiError(
            400, f"a data: URL must begin with data:image/TYPE;base64, or data:video/…, got {url[:_SHOWN]!r}"
        )
    try:
        return base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError) as e:
        raise ApiError(400, f"the content of a data: URL is no base64: {e}") from e
