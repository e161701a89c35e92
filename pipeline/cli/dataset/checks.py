"""Options of the commands that check a packed dataset: inspect, verify."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tyro.conf import Positional

from pipeline.dataset.inspect import card_table
from pipeline.dataset.verify.verify import verify
from pipeline.dataset.verify.workspace import store_problems, workspace_problems
from pipeline.runtime.progress import output
from pipeline.runtime.token_store import TokenStore
from pipeline.runtime.workspace import Workspace
from schemas.counted import counted
from schemas.dataset import read_card
from schemas.errors import DatasetError
from schemas.runs.messages import messages
from schemas.storage.location import Location
from schemas.storage.option import Address


@dataclass(frozen=True, kw_only=True)
class Inspect:
    """Show what a dataset contains: sequences, documents, tokens, and the share of each sequence that is filled."""

    dataset: Positional[Address]
    """Directory of the dataset."""

    def __call__(self, options: tuple[str, ...]) -> None:
        """Print the table."""
        output().print(card_table(read_card(self.dataset)))


@dataclass(frozen=True, kw_only=True)
class Verify:
    """Check every hash, count, token id, span and ledger row of a dataset, and report each problem.

    Files that do not belong to it are reported, too. The exit code is 0 without a problem, and 1 with one.
    """

    dataset: Positional[Address]
    """Directory of the dataset; or a workspace, to check all its files and every dataset in it."""
    tokens: Address | None = None
    """Token store to check, and to compare every chunk of the dataset with: WORKSPACE/tokens."""

    def __call__(self, options: tuple[str, ...]) -> None:
        """Print the report. Raises DatasetError when there is a problem."""
        if not self.dataset.is_folder():
            raise DatasetError(f"{self.dataset}: no such dataset")
        if (self.dataset / "workspace.json").exists():
            self._verify_workspace(Workspace.existing(self.dataset))
            return
        found = 0
        if self.tokens is not None:
            found = _print(self.tokens, store_problems(_store_of(self.tokens)))
        store = TokenStore(_store_of(self.tokens)) if self.tokens is not None and not found else None
        _require_none(self.dataset, found + _verify(self.dataset, store))

    def _verify_workspace(self, workspace: Workspace) -> None:
        problems = list(workspace_problems(workspace))
        found = _print(workspace.root, problems)
        has_store = workspace.tokens.is_folder() and not any(name.startswith("tokens/") for name, _ in problems)
        for folder in workspace.datasets():
            found += _verify(folder, TokenStore(workspace.tokens) if has_store else None)
        _require_none(workspace.root, found)
        messages.info(f"OK: workspace verified: {workspace.root}")


def _store_of(tokens: Location) -> Location:
    """Return the folder of a token store: that of a workspace is named after its number of units."""
    is_workspaces = tokens.name == "tokens" and (tokens.parent / "workspace.json").stat()
    return Workspace.existing(tokens.parent).tokens if is_workspaces else tokens


def _verify(dataset: Location, store: TokenStore | None) -> int:
    """Check a dataset, print the report, and return the number of problems."""
    report = verify(dataset, store=store)
    for problem in report.problems:
        messages.warning(f"  {problem}")
    messages.info(f"{dataset}: {report.summary()}")
    return report.found


def _print(place: Location, problems: Iterable[tuple[str, str]]) -> int:
    """Print problems of files and return their number."""
    lines = [f"  {place / name}: {problem}" for name, problem in problems]
    for line in lines:
        messages.info(line)
    return len(lines)


def _require_none(place: Location, found: int) -> None:
    if found:
        raise DatasetError(f"{place}: {counted(found, 'problem')}, listed above")
