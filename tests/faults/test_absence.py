"""Takes inputs away for a while, and serves them badly: nothing that was made is lost, and what is read is right.

`make faults` runs these campaigns; the single cases are tests of `pipeline.survey.absence` and `pipeline.sources`.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

import longreel
from pipeline.sources.access import AccessConfig
from schemas.errors import Reason
from tests.faults.inputs import ITEM_LIMIT_S, watchdog
from tests.faults.outcomes import Outcomes
from tests.faults.test_kills import finished_files
from tests.pipeline.survey.test_absence import KEEP, survey
from tests.support.inputs.http_server import ALLOWED, Answer, serving
from tests.support.stages import write_books
from tests.support.texts import story

pytestmark = pytest.mark.faults

ITEMS, ROUNDS = 8, 30
STATUSES = (401, 403, 408, 425, 429, 500, 502, 503, 504)


def test_inputs_that_are_away_for_a_while_lose_nothing(tmp_path: Path, results: list[Outcomes]) -> None:
    folder, out, outcomes = write_books(tmp_path / "in", ITEMS), tmp_path / "out", Outcomes("inputs away")
    results.append(outcomes)
    command = ["run", str(folder), "--out", str(out), "--context", "256", "--units", "4"]
    assert longreel.main(command) == 0
    before, away, rng = finished_files(out), tmp_path / "away", random.Random(0)
    away.mkdir()
    for number in range(ROUNDS):
        gone = rng.sample(range(ITEMS), rng.randrange(1, ITEMS + 1))
        for n in gone:
            (folder / f"{n}.txt").rename(away / f"{n}.txt")
        accepted = longreel.main([*command, "--max-absent", "1"]) if number % 2 else longreel.main(command)
        is_same = finished_files(out) == before
        for n in gone:
            (away / f"{n}.txt").rename(folder / f"{n}.txt")
        restored = longreel.main(command)
        right = is_same and restored == 0 and finished_files(out) == before and accepted in (0, 1)
        outcomes.unchanged += right and accepted == 0
        outcomes.named += right and accepted == 1
        outcomes.wrong += [] if right else [f"{len(gone)} away: exit codes {accepted} and {restored}, same: {is_same}"]
    assert outcomes.wrong == []


def test_servers_that_fail_cut_or_delay_answers_change_no_content(tmp_path: Path, results: list[Outcomes]) -> None:
    outcomes, rng = Outcomes("HTTP answers"), random.Random(0)
    results.append(outcomes)
    bodies = {f"/{n}.txt": story(n, 40).encode() for n in range(ITEMS)}
    access = AccessConfig(allow_hosts=(ALLOWED,), fetch_attempts=2, fetch_timeout_s=0.5, fetch_max_wait_s=0.5)
    with serving({path: Answer(body=body) for path, body in bodies.items()}) as server:
        _, right = survey([f"{server.url}{path}" for path in bodies], tmp_path / "right", access=access)
    for number in range(ROUNDS):
        # A new server in each round, since one that did not answer is not asked again for a minute.
        with serving({path: _faulty(body, rng) for path, body in bodies.items()}) as server:
            uris: list[Path | str] = [f"{server.url}{path}" for path in bodies]
            with watchdog(60 + ITEM_LIMIT_S * ITEMS):
                _, rows = survey(uris, tmp_path / str(number), KEEP, access)
        for name, expected in right.items():
            reason, document_id = rows[name]["reason"], rows[name]["document_id"]
            is_right = reason is None and document_id == expected["document_id"]
            outcomes.unchanged += is_right
            outcomes.named += reason == Reason.UNREACHABLE
            outcomes.wrong += [] if is_right or reason == Reason.UNREACHABLE else [f"round {number}: {rows[name]}"]
    assert outcomes.tried == ROUNDS * ITEMS
    assert outcomes.wrong == []


def _faulty(body: bytes, rng: random.Random) -> Answer:
    """Return an answer that fails once or always, is cut, or is slow."""
    choice = rng.randrange(4)
    if choice == 0:
        return Answer(status=rng.choice(STATUSES))
    if choice == 1:
        failure = Answer(status=rng.choice(STATUSES), headers={"Retry-After": "0"})
        return Answer(body=body, fails=rng.randrange(1, 4), failure=failure)
    if choice == 2:
        return Answer(body=body, cut=rng.randrange(len(body)))
    return Answer(body=body, delay_s=rng.choice((0.01, 0.05, 0.2, 1.0)))
