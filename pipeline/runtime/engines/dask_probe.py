"""What the driver asks the workers of a Dask cluster before a job: their packages, and whether they see the files.

`versions` and `hash_of_code` are sent by value to workers that may lack Longreel, so they import within and use nothing
of this module.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any


def versions(packages: Sequence[str], roots: Sequence[str]) -> dict[str, str]:
    """Return the versions of Python and of packages, and a hash of the modules below the packages `roots`.

    A package that is missing has the version "". `hash seed` tells whether processes group strings alike.
    """
    import hashlib
    import importlib.metadata
    import importlib.util
    import platform
    from pathlib import Path

    found = {"Python": ".".join(platform.python_version_tuple()[:2]), "hash seed": str(hash("longreel"))}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = ""
    digest = hashlib.sha256()
    for root in roots:
        spec = importlib.util.find_spec(root)
        for folder in (spec and spec.submodule_search_locations) or ():
            for path in sorted(Path(folder).rglob("*.py")):
                digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    found["Longreel's code"] = digest.hexdigest()[:12]
    return found


def answer(workspace: str, question: Any, reads: Sequence[str], name: str) -> list[str]:
    """Return what a worker cannot reach: the workspace, or paths that it has to read.

    `question` is the location of an object in it that the driver wrote; the worker writes `name` next to it.
    """
    missing = [path for path in reads if not Path(path).exists()]
    try:
        found = question.read()
        (question.parent / name).write(found)
    except Exception as e:  # noqa: BLE001 - any is an answer
        return [f"{workspace} ({type(e).__name__})", *missing]
    return missing
