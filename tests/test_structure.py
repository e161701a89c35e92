"""Limits of the layout that ARCHITECTURE.md and CONTRIBUTING.md describe."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from pathlib import Path

_ROOT = Path(__file__).parent.parent
_PACKAGES = ("schemas", "tokenizer", "pipeline", "trainer")
_MOST_MODULES = 25  # of a folder
_LEAST_SHARE = 0.95  # of modules with a test module of their own name


def _modules() -> list[Path]:
    """Return the modules of all packages, relative to the checkout."""
    found = (path for package in _PACKAGES for path in (_ROOT / package).rglob("*.py"))
    return [path.relative_to(_ROOT) for path in found if path.name != "__init__.py"]


def test_no_folder_has_more_modules_than_a_reader_can_survey() -> None:
    folders = Counter(str(path.parent) for path in _modules())
    assert len(folders) > 20
    assert {folder: number for folder, number in folders.items() if number > _MOST_MODULES} == {}


def test_modules_have_test_modules_of_their_own_names() -> None:
    modules = _modules()
    without = [str(path) for path in modules if not (_ROOT / "tests" / path.parent / f"test_{path.name}").is_file()]
    assert len(without) <= (1 - _LEAST_SHARE) * len(modules), without


def test_a_target_runs_the_tests_of_every_marker_that_the_default_leaves_out() -> None:
    settings = tomllib.loads((_ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    left_out = set(re.findall(r"not (\w+)", settings["addopts"]))
    assert left_out == {marker.split(":")[0] for marker in settings["markers"]} - {"slow"}
    targets = re.findall(r"pytest .*-m (\w+) ?(\S*)$", (_ROOT / "Makefile").read_text(), re.MULTILINE)
    assert left_out <= {marker for marker, _ in targets}
    marked = {path: path.read_text() for path in (_ROOT / "tests").rglob("test_*.py")}
    for marker, folder in targets:
        unreachable = [
            p for p, text in marked.items() if f"mark.{marker}" in text and not p.is_relative_to(_ROOT / folder)
        ]
        assert unreachable == [], f"make does not run the tests marked {marker} outside of {folder}"
