"""The check of golden outputs fails for a change without a new version, and only then."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import golden
from tests.support.golden import check_golden, check_golden_codes

OUTPUT = {"rows": [{"name": "a", "share": 0.25}, {"name": "b", "share": 1.0}]}


@pytest.fixture(autouse=True)
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(golden, "_FOLDER", tmp_path)
    with monkeypatch.context() as patch:
        patch.setenv("UPDATE_GOLDEN", "1")
        check_golden("rows", (1, "x"), OUTPUT)


def test_the_same_output_passes_up_to_rounding() -> None:
    check_golden("rows", (1, "x"), OUTPUT)
    check_golden("rows", (1, "x"), {"rows": [{"name": "a", "share": 0.25 + 1e-9}, {"name": "b", "share": 1}]})


@pytest.mark.parametrize("update", ["0", "1"])
def test_another_output_of_the_same_version_fails(update: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPDATE_GOLDEN", update)
    changed = {"rows": [{"name": "a", "share": 0.26}, {"name": "b", "share": 1.0}]}
    with pytest.raises(pytest.fail.Exception, match=r"output.rows\[0\].share was 0.25 and is 0.26"):
        check_golden("rows", (1, "x"), changed)
    with pytest.raises(pytest.fail.Exception, match="output.rows was"):
        check_golden("rows", (1, "x"), {"rows": OUTPUT["rows"][:1]})


def test_a_new_version_must_be_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UPDATE_GOLDEN", raising=False)
    with pytest.raises(pytest.fail.Exception, match="run this test with UPDATE_GOLDEN=1"):
        check_golden("rows", (2, "x"), {"rows": []})
    monkeypatch.setenv("UPDATE_GOLDEN", "1")
    check_golden("rows", (2, "x"), {"rows": []})
    monkeypatch.delenv("UPDATE_GOLDEN")
    check_golden("rows", (2, "x"), {"rows": []})


def test_codes_may_differ_in_the_given_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPDATE_GOLDEN", "1")
    check_golden_codes("codes", 1, range(10), min_equal=0.9)
    check_golden_codes("codes", 1, [*range(9), 0], min_equal=0.9)
    for changed in ([*range(8), 0, 0], range(8), range(20), []):
        with pytest.raises(pytest.fail.Exception, match=r"% of the codes are equal, expected at least 90.0%"):
            check_golden_codes("codes", 1, list(changed), min_equal=0.9)
