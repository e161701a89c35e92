"""Recognizes pictures by their first bytes; all other files are videos."""

from __future__ import annotations

from pathlib import Path

from schemas.errors import InputError, Reason

HEAD_BYTES = 32

_MAGIC = (
    *(b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"BM"),
    *(b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),  # TIFF and BigTIFF, in both byte orders
)
_AVIF = {b"avif", b"avis"}
_HEIC = {b"heic", b"heix", b"heim", b"heis", b"mif1"}  # not hevc, hevx, msf1: sequences, which FFmpeg reads as videos


def is_picture(path: Path, head: bytes) -> bool:
    """Whether a file that begins with `head` (`HEAD_BYTES`) is a picture or animation. Raises InputError for HEIC."""
    if head[:3] == b"\xff\xd8\xff":
        return path.suffix.lower() not in {".mjpg", ".mjpeg"}  # a sequence of JPEGs is a video
    if head[4:8] == b"ftyp":
        if {head[at : at + 4] for at in range(8, HEAD_BYTES, 4)} & _AVIF:
            return True
        if head[8:12] in _HEIC:
            raise InputError(Reason.UNREADABLE, f"{path}: HEIC is not supported; convert the picture to JPEG or PNG")
        return False
    if head[:4] == b"RIFF":
        return head[8:12] == b"WEBP"
    return head.startswith(_MAGIC) or _is_icon(head)


def _is_icon(head: bytes) -> bool:
    # Four bytes of MPEG streams look alike, so the first entry is checked: a count below 256, a reserved zero, planes.
    return head[:4] == b"\0\0\1\0" and head[4:5] > b"\0" and head[5:6] == b"\0" and head[9:12] in (b"\0\0\0", b"\0\1\0")
