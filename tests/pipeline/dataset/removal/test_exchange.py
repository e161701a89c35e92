"""The exchange of two directories, in one step and in three."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.dataset.removal import exchange
from tests.support.removal_datasets import Killed, killed_at


def make(parent: Path) -> Path:
    """Return a dataset with its replacement: only their cards."""
    for name, text in (("64", "old"), (".64.removal", "new")):
        (parent / name).mkdir(parents=True)
        (parent / name / "dataset.json").write_text(text)
    return parent / "64"


def card(directory: Path) -> str:
    return (directory / "dataset.json").read_text()


@pytest.mark.parametrize("at_once", [True, False])
def test_the_directories_are_exchanged(tmp_path: Path, at_once: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not at_once:  # as on a file system that cannot
        monkeypatch.setattr(exchange, "_exchange_at_once", lambda one, other: False)
    directory = make(tmp_path)
    exchange.exchange(directory)
    assert (card(directory), card(exchange.staging_of(directory))) == ("new", "old")


@pytest.mark.parametrize("step", range(3))
def test_a_kill_between_the_renames_is_recovered(tmp_path: Path, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = make(tmp_path)
    with killed_at(step, monkeypatch, at_once=False), pytest.raises(Killed):
        exchange.exchange(directory)
    if not directory.exists():
        assert exchange.unfinished_exchanges(tmp_path) == [directory]
    exchange.recover(directory)
    assert card(directory) == ("old" if step == 0 else "new")
    assert [path.name for path in tmp_path.iterdir()] == ["64"]
    assert exchange.unfinished_exchanges(tmp_path) == []


def test_nothing_is_recovered_where_nothing_is(tmp_path: Path) -> None:
    exchange.recover(tmp_path / "64")
    assert list(tmp_path.iterdir()) == []
