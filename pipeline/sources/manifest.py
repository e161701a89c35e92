"""The manifest: the list of items to process.

It is read from Parquet, JSONL or CSV files (`pipeline.sources.manifest_tables`), or built from folders. In a folder the
kind follows from the file extension; next to a video or image `NAME.*`, the text `NAME.txt` is its caption, and
`NAME.srt` or `NAME.vtt` its transcript. Hidden files and folders are ignored. Links to folders are not followed; they
are counted with the skipped files.
"""

from __future__ import annotations

import difflib
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from pipeline.kinds.registry import kind_of_file, kinds
from pipeline.sources.manifest_tables import TABLES, table_rows
from schemas.errors import ManifestError
from schemas.records import MANIFEST, SPLITS
from schemas.rows import ManifestItem

TRANSCRIPTS = (".srt", ".vtt")
_COLUMNS = tuple(MANIFEST.names)
_MAX_CAPTION_BYTES = 1 << 20


class Manifest(NamedTuple):
    """The items, sorted by address, and the number of files skipped in the folders by extension."""

    items: tuple[ManifestItem, ...]
    ignored: Mapping[str, int]


def read_manifest(inputs: Iterable[str]) -> Manifest:
    """Read folders, single media files and manifest tables into one manifest.

    Raises ManifestError, which names file, row, column, value and what was expected. A listed file that is missing is
    not an error here: the survey rejects it with a reason.
    """
    rows: dict[str, ManifestItem] = {}
    origin: dict[str, str] = {}
    ignored: Counter[str] = Counter()
    for given in inputs:
        for where, row in _rows_of(given, ignored):
            if rows.setdefault(row.uri, row) != row:
                raise ManifestError(
                    f"{where}: {row.uri!r} is already listed by {origin[row.uri]} with other values; "
                    "list every file once"
                )
            origin.setdefault(row.uri, where)
    if not rows:
        supported = ", ".join(f"{name} ({' '.join(kind.endings)})" for name, kind in kinds().items())
        raise ManifestError(
            f"nothing to do: no item found in {', '.join(inputs) or 'no input at all'}; supported are {supported}"
        )
    return Manifest(tuple(rows[uri] for uri in sorted(rows)), dict(sorted(ignored.items())))


def _rows_of(given: str, ignored: Counter[str]) -> Iterator[tuple[str, ManifestItem]]:
    path = Path(given)
    if path.is_dir():
        yield from ((f"folder {given}", row) for row in _walk(path, ignored))
    elif path.suffix.lower() in TABLES:
        if not path.is_file():
            raise ManifestError(f"{given}: no such manifest")
        yield from ((where, _check(values, where, path.parent)) for where, values in table_rows(path))
    elif "://" in given or kind_of_file(given):
        yield given, _check({"uri": given}, given, Path.cwd())
    else:
        raise ManifestError(
            f"{given}: expected a folder, a media file, or a manifest ({', '.join(TABLES)}); "
            + ("this file's ending is unknown" if path.exists() else "nothing is there")
        )


def _walk(folder: Path, ignored: Counter[str]) -> Iterator[ManifestItem]:
    for directory, subfolders, names in os.walk(folder, onerror=_unlisted):
        subfolders[:] = sorted(d for d in subfolders if not d.startswith("."))
        ignored.update("linked folder" for d in subfolders if Path(directory, d).is_symlink())
        files = [Path(directory, n) for n in sorted(names) if not n.startswith(".")]
        owners = {p.stem for p in files if (kind := kind_of_file(p.name)) and kind.takes_sidecars}
        sidecars = {
            (p.stem, p.suffix.lower()): p
            for p in files
            if p.stem in owners and p.suffix.lower() in (".txt", *TRANSCRIPTS)
        }
        for path in files:
            ending = path.suffix.lower()
            if (path.stem, ending) in sidecars:
                continue
            if kind_of_file(path.name):
                yield _check(_with_sidecars(path, sidecars), str(path), Path.cwd())
            else:
                ignored[ending or path.name] += 1


def _unlisted(error: OSError) -> NoReturn:
    raise ManifestError(f"the folder {error.filename} cannot be listed: {error.strerror}") from error


def _with_sidecars(path: Path, sidecars: Mapping[tuple[str, str], Path]) -> dict[str, Any]:
    row: dict[str, Any] = {"uri": _address(path)}
    if (caption := sidecars.get((path.stem, ".txt"))) is not None:
        row["captions"] = [_read_caption(caption)]
    found = [sidecars[path.stem, ending] for ending in TRANSCRIPTS if (path.stem, ending) in sidecars]
    if found:
        row["transcript"] = _address(found[0])
    return row


def _address(path: Path) -> str:
    """Return the path as text. A name that is no UTF-8 is spelled with escapes: the survey will miss it, and say so."""
    return os.fsencode(path).decode("utf-8", errors="backslashreplace")


def _read_caption(path: Path) -> str:
    try:
        if path.stat().st_size > _MAX_CAPTION_BYTES:
            raise ManifestError(f"{path}: a caption of {path.stat().st_size} bytes; at most {_MAX_CAPTION_BYTES}")
        return path.read_text(encoding="utf-8-sig").strip()
    except UnicodeDecodeError as e:
        raise ManifestError(f"{path}: the caption is not UTF-8 (byte {e.start})") from e


def _check(values: Mapping[str, Any], where: str, base: Path) -> ManifestItem:
    """Return a complete item with absolute addresses, or raise ManifestError."""

    def bad(column: str, expected: str) -> ManifestError:
        return ManifestError(f"{where}, column {column!r}: got {values.get(column)!r}, expected {expected}")

    for name in values:
        if name not in _COLUMNS:
            near = difflib.get_close_matches(str(name), _COLUMNS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(_COLUMNS)}."
            raise ManifestError(f"{where}: unknown column {name!r}; {hint} Fields of your own go in 'metadata'.")
    uri = values.get("uri")
    if not isinstance(uri, str) or not uri:
        raise bad("uri", "a path or an address")
    of_file = kind_of_file(uri)
    kind = values.get("kind") or (of_file.name if of_file else None)
    if not isinstance(kind, str) or kind not in kinds():
        raise bad("kind", f"one of {', '.join(kinds())}")
    captions = values.get("captions")
    if isinstance(captions, str):
        captions = [captions]
    if captions is not None and not (isinstance(captions, list) and all(isinstance(c, str) for c in captions)):
        raise bad("captions", "a string or a list of strings")
    for name in ("transcript", "title", "source", "license"):
        if not isinstance(values.get(name), str | None):
            raise bad(name, "a string")
    if values.get("split") not in (None, *SPLITS):
        raise bad("split", f"one of {', '.join(SPLITS)}, or nothing")
    transcript = values.get("transcript")
    if transcript and transcript != "embedded":
        if Path(transcript).suffix.lower() not in TRANSCRIPTS:
            raise bad("transcript", f"'embedded' or a file that ends in {' or '.join(TRANSCRIPTS)}")
        transcript = _absolute(transcript, base)
    metadata = values.get("metadata")
    if metadata is not None and not isinstance(metadata, str):
        try:
            metadata = json.dumps(metadata, sort_keys=True)
        except (TypeError, ValueError) as e:
            raise bad("metadata", "text, or what JSON can hold") from e
    plain = {name: values.get(name) for name in ("title", "source", "license", "split")}
    for name, value in {**plain, "uri": uri, "transcript": transcript, "metadata": metadata}.items():
        if not _is_utf8(value or ""):
            raise bad(name, "text that UTF-8 can hold")
    if not all(map(_is_utf8, captions or [])):
        raise bad("captions", "text that UTF-8 can hold")
    return ManifestItem(
        uri=_absolute(uri, base),
        kind=kind,
        captions=tuple(c for c in captions or () if c.strip()),
        transcript=transcript or None,
        metadata=metadata,
        **plain,
    )


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half a surrogate pair
        return False
    return True


def _absolute(address: str, base: Path) -> str:
    return address if "://" in address else os.path.abspath(base / address)  # noqa: PTH100 - keeps symlinks
