"""Kills a division of the units of a workspace before each change that it makes, on disk and in buckets.

Afterwards the workspace has the old units or the new ones, with all rows and tokens, and the division is completed.
`make test` tries every ninth change on disk, `make faults` all of them everywhere.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.dataset.verify.workspace import workspace_problems
from pipeline.runtime.growth import divide
from pipeline.runtime.workspace import Workspace
from schemas.storage.local import LocalStore
from schemas.storage.location import Location, located
from schemas.storage.remote import RemoteStore
from tests.faults.outcomes import Outcomes
from tests.support.finished_workspace import rows_of, write_finished_workspace

pytestmark = pytest.mark.slow

KINDS = ("local", "s3", "gcs")


@pytest.mark.parametrize(
    ("kind", "step"), [("local", 9), *(pytest.param(kind, 1, marks=pytest.mark.faults) for kind in KINDS)]
)
def test_a_division_that_is_killed_at_any_change_has_all_rows_and_is_completed(
    kind: str,
    step: int,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    results: list[Outcomes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = located(tmp_path) if kind == "local" else request.getfixturevalue(kind).bucket()
    finished, outcomes = write_finished_workspace(tmp_path / "finished"), Outcomes(f"kill of a division, {kind}")
    results.append(outcomes)
    before, is_killed = rows_of(finished), True
    changes = itertools.count(step=step)
    while is_killed:
        place = _copied(finished.root, root / str(changes_made := next(changes)))
        with monkeypatch.context() as patch:
            is_killed = _is_killed(place, LocalStore if kind == "local" else RemoteStore, changes_made, patch)
        killed = Workspace.existing(place)
        outcomes.unchanged += killed.units == 3
        outcomes.named += killed.units == 6
        assert rows_of(killed) == before
        left = dict(workspace_problems(killed))
        assert all("interrupted" in problem for problem in left.values()), left
        divide(killed, 0, given=6)
        assert (killed.units, rows_of(killed)) == (6, before)
        assert list(workspace_problems(killed)) == []
    assert outcomes.unchanged > 0


def _is_killed(place: Location, store: type, changes: int, patch: pytest.MonkeyPatch) -> bool:
    """Divide the units; whether the process was killed meanwhile."""
    _stop_after(changes, store, patch)
    try:
        divide(Workspace.existing(place), 0, given=6)
    except KeyboardInterrupt:
        return True
    return False


def _stop_after(changes: int, store: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the process end before the change of a file or folder that follows so many others."""
    left = itertools.count(changes, -1)

    def stopped(change: Callable[..., Any]) -> Callable[..., Any]:
        def run(*given: Any) -> Any:
            if next(left) == 0:
                raise KeyboardInterrupt
            return change(*given)

        return run

    for name in ("write", "put", "delete", "delete_folder"):
        monkeypatch.setattr(store, name, stopped(getattr(store, name)))


def _copied(source: Location, target: Location) -> Location:
    for place in source.walk():
        (target / place.relative_to(source)).write(place.read())
    return target
