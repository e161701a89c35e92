"""A case: files that are built, and what has to become of each of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from inputs_parts.outcome import Outcome

Check = Callable[[Outcome, str], str]
"""Takes what a run made and the name of a file in the case's folder; returns the problem, "" where there is none."""

REJECTED = "rejected: "


@dataclass(frozen=True)
class Case:
    """One kind of input. `build` writes it into an empty folder; `tables` are its files to be listed as inputs."""

    name: str
    build: Callable[[Path], object]
    checks: Mapping[str, Check]
    tables: tuple[str, ...] = ()


def all_of(*checks: Check) -> Check:
    """Return the first problem of several checks."""

    def check(outcome: Outcome, name: str) -> str:
        return next((problem for one in checks if (problem := one(outcome, name))), "")

    return check


def kept(outcome: Outcome, name: str) -> str:
    """Check that an item is kept."""
    item = outcome.item(name)
    if item is None:
        return "not listed"
    return f"{REJECTED}{item.reason}: {item.detail}" if item.reason else ""


def rejected(*reasons: str) -> Check:
    """Check that an item is rejected with one of these reasons."""

    def check(outcome: Outcome, name: str) -> str:
        item = outcome.item(name)
        if item is None:
            return "not listed"
        return "" if item.reason in reasons else f"{item.reason or 'kept'}, expected {' or '.join(reasons)}"

    return check


def either(one: Check, other: Check) -> Check:
    """Check that one of two results came."""

    def check(outcome: Outcome, name: str) -> str:
        problem = one(outcome, name)
        return problem and (other(outcome, name) and problem)

    return check


def text(*contains: str, without: tuple[str, ...] = (), count: int | None = None) -> Check:
    """Check that an item is kept and what its text contains; `count` is how often each."""

    def check(outcome: Outcome, name: str) -> str:
        if problem := kept(outcome, name):
            return problem
        found = outcome.text(name)
        for part in contains:
            if part not in found or (count is not None and found.count(part) != count):
                return f"{part!r} occurs {found.count(part)} times in {found[:60]!r}"
        return next((f"{part!r} is in the text" for part in without if part in found), "")

    return check


def cue(text: str, *, after_frames: int) -> Check:
    """Check how many frames precede a cue."""

    def check(outcome: Outcome, name: str) -> str:
        if problem := kept(outcome, name):
            return problem
        frames = 0
        for part in outcome.parts(name):
            if isinstance(part, int):
                frames += part
            elif text in part:
                return "" if frames == after_frames else f"{text!r} after {frames} frames, expected {after_frames}"
        return f"the cue {text!r} is missing"

    return check


def no_text(outcome: Outcome, name: str) -> str:
    """Check that an item is kept and has no text."""
    return kept(outcome, name) or (f"has the text {found[:60]!r}" if (found := outcome.text(name).strip()) else "")


def facts(**expected: object) -> Check:
    """Check that an item is kept, and columns of its survey row."""

    def check(outcome: Outcome, name: str) -> str:
        if problem := kept(outcome, name):
            return problem
        row = outcome.row(name)
        found = {column: getattr(row.visual, column, None) or getattr(row, column, None) for column in expected}
        return "" if found == expected else f"{found}, expected {expected}"

    return check


def measure(name_of_measure: str, low: float, high: float = 255) -> Check:
    """Check that an item is kept, and that one of its measures lies within bounds."""

    def check(outcome: Outcome, name: str) -> str:
        if problem := kept(outcome, name):
            return problem
        found = outcome.row(name).measures.get(name_of_measure)
        ok = found is not None and low <= found <= high
        return "" if ok else f"{name_of_measure} is {found}, expected {low:g} to {high:g}"

    return check


def uncropped(outcome: Outcome, name: str) -> str:
    """Check that an item is kept with its whole picture."""
    if problem := kept(outcome, name):
        return problem
    visual = outcome.row(name).visual
    assert visual is not None
    whole = (0, 0, visual.width, visual.height)
    return "" if visual.crop == whole else f"cropped to {visual.crop}, expected {whole}"


def promised_what_it_has(outcome: Outcome, name: str) -> str:
    """Check that an item is kept, and that as many frames were decoded as its container promises."""
    if problem := kept(outcome, name):
        return problem
    frames, promised = outcome.frames(name)
    return "" if frames == promised else f"{frames} frames, promised {promised}"


def duplicate_of(*names: str) -> Check:
    """Check that exactly one of an item and the items `names` is kept."""

    def check(outcome: Outcome, name: str) -> str:
        items = [outcome.item(each) for each in (name, *names)]
        reasons = [item.reason if item else "not listed" for item in items]
        return "" if reasons.count(None) == 1 else f"reasons of {(name, *names)}: {reasons}"

    return check


def text_on_the_kept(*names: str, contains: str) -> Check:
    """Check that the copy that is kept, of an item and the items `names`, has the text."""

    def check(outcome: Outcome, name: str) -> str:
        if problem := duplicate_of(*names)(outcome, name):
            return problem
        (copy,) = (each for each in (name, *names) if not kept(outcome, each))
        return text(contains)(outcome, copy)

    return check
