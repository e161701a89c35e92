"""Golden outputs: a step whose output changes for the same input must raise its version number.

`check_golden(name, version, output)` compares `output` with `tests/golden/NAME.json`, which holds the output of that
version. To record the output of a new version, run the test with `UPDATE_GOLDEN=1` in the environment; a file whose
version is unchanged is never overwritten.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest

_FOLDER = Path(__file__).parents[1] / "golden"
_RELATIVE = 1e-6  # float32 arithmetic differs between processors by about 1e-7


def check_golden(name: str, version: Any, output: Any) -> None:
    """Fail if `output` (plain JSON values) differs from the golden output, or if its version is not recorded."""
    output = json.loads(json.dumps(output))  # tuples become lists
    if difference := _difference(_recorded(name, version, output), output):
        _fail(name, version, difference)


def check_golden_codes(name: str, version: Any, codes: Sequence[int], *, min_equal: float) -> None:
    """Fail if fewer than a share `min_equal` of `codes` equal the golden ones, or if their version is not recorded.

    For codes of a VQGAN: rounding that differs between processors moves a few of them to another entry.
    """
    golden = _recorded(name, version, " ".join(map(str, codes))).split()
    equal = sum(int(one) == other for one, other in zip(golden, codes, strict=False)) / max(len(golden), len(codes), 1)
    if equal < min_equal:
        _fail(name, version, f"{equal:.1%} of the codes are equal, expected at least {min_equal:.1%}")


def _recorded(name: str, version: Any, output: Any) -> Any:
    """Return the golden output of a version; `output` itself if it is recorded now."""
    path = _FOLDER / f"{name}.json"
    version = json.loads(json.dumps(version))
    golden = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"version": None}
    if golden["version"] == version:
        return golden["output"]
    if os.environ.get("UPDATE_GOLDEN") != "1":
        pytest.fail(f"no golden output of version {version} of {name}: run this test with UPDATE_GOLDEN=1")
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"version": version, "output": output}, indent=1) + "\n", encoding="utf-8")
    return output


def _fail(name: str, version: Any, difference: str) -> NoReturn:
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
