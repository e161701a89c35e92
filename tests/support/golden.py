"""Golden outputs: a step whose output changes for the same input must raise its version number.

`check_golden(name, version, output)` compares `output` with `tests/golden/NAME.json`, which holds the output of that
version. To record the output of a new version, run the test with `UPDATE_GOLDEN=1` in the environment; a file whose
version is unchanged is never overwritten.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

_FOLDER = Path(__file__).parents[1] / "golden"
_RELATIVE = 1e-6  # float32 arithmetic differs between processors by about 1e-7


def check_golden(name: str, version: Any, output: Any) -> None:
    """Fail if `output` (plain JSON values) differs from the golden output, or if its version is not recorded."""
    path = _FOLDER / f"{name}.json"
    version, output = (json.loads(json.dumps(value)) for value in (version, output))  # tuples become lists
    golden = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"version": None}
    if golden["version"] != version:
        if os.environ.get("UPDATE_GOLDEN") != "1":
            pytest.fail(f"no golden output of version {version} of {name}: run this test with UPDATE_GOLDEN=1")
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"version": version, "output": output}, indent=1) + "\n", encoding="utf-8")
    elif difference := _difference(golden["output"], output):
        pytest.fail(f"the output of {name} changed, but its version {version} did not: {difference}. Raise the version")


def _difference(expected: Any, received: Any, at: str = "output") -> str | None:
    """Return a description of the first difference between two JSON values, or None."""
    if isinstance(expected, dict) and isinstance(received, dict) and expected.keys() == received.keys():
        parts = [(f"{at}.{key}", expected[key], received[key]) for key in expected]
    elif isinstance(expected, list) and isinstance(received, list) and len(expected) == len(received):
        parts = [(f"{at}[{i}]", *pair) for i, pair in enumerate(zip(expected, received, strict=True))]
    elif isinstance(expected, float) and isinstance(received, float | int):
        return (
            None
            if received == pytest.approx(expected, rel=_RELATIVE, abs=_RELATIVE)
            else _message(at, expected, received)
        )
    else:
        return None if expected == received else _message(at, expected, received)
    return next(filter(None, (_difference(one, other, place) for place, one, other in parts)), None)


def _message(at: str, expected: Any, received: Any) -> str:
    return f"{at} was {expected!r} and is {received!r}"
