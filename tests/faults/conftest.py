"""Prints, at the end of a run in one process, a table of what the campaigns tried and what came of it."""

from __future__ import annotations

import pytest

from tests.faults.outcomes import Outcomes

_RESULTS = pytest.StashKey[list[Outcomes]]()


def pytest_configure(config: pytest.Config) -> None:
    """Make room for the results."""
    config.stash[_RESULTS] = []


@pytest.fixture
def results(request: pytest.FixtureRequest) -> list[Outcomes]:
    """The results of the run, to which each test appends its own."""
    found: list[Outcomes] = request.config.stash[_RESULTS]
    return found


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table."""
    found = config.stash.get(_RESULTS, [])
    if found:
        terminalreporter.section("faults")
        terminalreporter.write_line(f"{'kind':<36}{'tried':>8}{'unchanged':>11}{'named':>8}{'wrong':>7}")
        for one in [*found, Outcomes.total(found)]:
            counts = f"{one.tried:>8}{one.unchanged:>11}{one.named:>8}{len(one.wrong):>7}"
            terminalreporter.write_line(f"{one.kind:<36}{counts}")
