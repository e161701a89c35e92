"""Limits: which numbers of a surveyed item must lie where, for it to go on.

Every number that the survey found stands in the row's `measures`, under one name; a few more follow from the row's
other columns. A limit is a name with a smallest and a largest value. One table holds the defaults, and
`NAME=MIN:MAX` replaces one of them or adds one, for a registered score as for a rule of ours.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from schemas.errors import ConfigError, Reason

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Limit:
    """`low` <= number <= `high`, else the item is set aside for `too_low` or `too_high`."""

    name: str
    low: float = -math.inf
    high: float = math.inf
    too_low: Reason = Reason.SCORE
    too_high: Reason = Reason.SCORE
    what: str = ""  # in words, with the unit

    def __str__(self) -> str:
        return f"{self.name}={_text(self.low)}:{_text(self.high)}"

    @property
    def is_open(self) -> bool:
        """Whether any number is within."""
        return math.isinf(self.low) and math.isinf(self.high)

    def broken_by(self, number: float) -> tuple[Reason, str] | None:
        """Return reason and detail where `number` lies outside; NaN does, of any limit with a bound."""
        if self.is_open or self.low <= number <= self.high:
            return None
        is_low = number < self.low or (math.isnan(number) and not math.isinf(self.low))
        reason, words, bound = (self.too_low, "at least", self.low) if is_low else (self.too_high, "at most", self.high)
        told = f"{number:.4g}"
        if self.low <= float(told) <= self.high:  # 0.99999 is not "1; at least 1"
            told = _text(number)
        what = f" ({self.what})" if self.what else ""
        return reason, f"{self.name} is {told}{what}; {words} {_text(bound)} (--set {self})"


def _limit(name: str, low: float | None, high: float | None, reason: Reason, what: str, **other: Reason) -> Limit:
    """Return a default. `reason` is that of a number too high; of one too low where that side has a bound.

    With `too_low` the low side has its own; where that is the same, `reason` is meant of the low side alone. The side
    that no reason speaks of (much motion is not "still") has that of a score.
    """
    too_low = other.get("too_low", reason if low is not None else Reason.SCORE)
    too_high = Reason.SCORE if high is None and other.get("too_low") == reason else reason
    return Limit(name, -math.inf if low is None else low, math.inf if high is None else high, too_low, too_high, what)


# Of pipeline.filters.text_rules: name, lowest, highest, in words. Bounds are the papers' where nothing else is said.
_TEXT_RULES: tuple[tuple[str, float | None, float | None, str], ...] = (
    ("gopher_word_length", 3, 10, "mean letters of a word"),
    ("gopher_symbols", None, 0.1, "# or ellipses a word"),
    ("gopher_bullet_lines", None, 0.9, "share of lines that begin with a bullet"),
    ("gopher_ellipsis_lines", None, 0.3, "share of lines that trail off"),
    ("gopher_alphabetic_words", 0.8, None, "share of words with a letter"),
    ("gopher_stop_words", 2, None, "of eight common English words, how many occur"),
    ("gopher_repeated_lines", None, 0.3, "share of lines that stood before"),
    ("gopher_repeated_line_characters", None, 0.2, "share of characters in them"),
    ("gopher_repeated_paragraphs", None, 0.3, "share of paragraphs that stood before"),
    ("gopher_repeated_paragraph_characters", None, 0.2, "share of characters in them"),
    ("gopher_top_2gram", None, 0.2, "share of characters in the commonest run of 2 words"),
    ("gopher_top_3gram", None, 0.18, "of 3 words"),
    ("gopher_top_4gram", None, 0.16, "of 4 words"),
    ("gopher_repeated_5gram", None, 0.15, "share of characters in runs of 5 words that stood before"),
    ("gopher_repeated_6gram", None, 0.14, "of 6 words"),
    ("gopher_repeated_7gram", None, 0.13, "of 7 words"),
    ("gopher_repeated_8gram", None, 0.12, "of 8 words"),
    ("gopher_repeated_9gram", None, 0.11, "of 9 words"),
    ("gopher_repeated_10gram", None, 0.10, "of 10 words"),
    ("fineweb_ended_lines", 0.12, None, "share of lines that end as a sentence does"),
    ("fineweb_short_lines", None, 0.67, "share of lines of at most 30 characters"),
    ("fineweb_lines_per_word", None, 0.3, "lines a word"),
)
TEXT_RULES = tuple(name for name, *_ in _TEXT_RULES)


def _text_rule(name: str, low: float | None, high: float | None, what: str) -> Limit:
    return _limit(name, low, high, Reason.QUALITY, what, too_low=Reason.QUALITY)


# Where no bound is given the number is measured, shown and plotted, and a `--set` can make use of it.
DEFAULTS: Mapping[str, Limit] = {
    limit.name: limit
    for limit in (
        _limit("duration_s", 1, 4 * 3600, Reason.TOO_LONG, "seconds of a video", too_low=Reason.TOO_SHORT),
        _limit("short_side", 64, None, Reason.TOO_SMALL, "pixels", too_low=Reason.TOO_SMALL),
        _limit("brightness", 8, None, Reason.BLACK, "gray level of the brightest frame, 0-255", too_low=Reason.BLACK),
        _limit("black_share", None, 0.9, Reason.BLACK, "share of the time that is black"),
        _limit("frozen_share", None, 0.9, Reason.FROZEN, "share of the time in which no pixel changes"),
        _limit("still_share", None, None, Reason.STILL, "share of the time in which hardly anything changes"),
        _limit("motion", None, None, Reason.STILL, "mean change of gray level a second", too_low=Reason.STILL),
        _limit("sharpness", None, None, Reason.BLURRED, "of the sharpest frame", too_low=Reason.BLURRED),
        _limit("blockiness", None, None, Reason.BLOCKY, "steps at the 8 x 8 grid over steps elsewhere"),
        _limit("combing", None, None, Reason.INTERLACED, "share of frames with combs"),
        _limit("picture_share", 0.2, None, Reason.BARS, "share of the frame without bars", too_low=Reason.BARS),
        _limit("found_share", 0.5, None, Reason.TRUNCATED, "of the promised duration", too_low=Reason.TRUNCATED),
        _limit("words", 50, None, Reason.TOO_LONG, "words of a book", too_low=Reason.TOO_SHORT),
        *(_text_rule(*rule) for rule in _TEXT_RULES),
        _limit(
            "language_share",
            None,
            None,
            Reason.LANGUAGE,
            "of the book in its language",
            too_low=Reason.LANGUAGE,
        ),
        _limit(
            "contaminated_share",
            None,
            0.1,
            Reason.CONTAMINATED,
            "in passages that an evaluation set has",
        ),
        _limit("cut_share", None, 0.5, Reason.QUALITY, "in passages that are cut"),
        _limit("bit_rate", None, None, Reason.BLOCKY, "bits a second of the video stream", too_low=Reason.BLOCKY),
        _limit("nsfw", None, 0.8, Reason.SCORE, "nudity in the worst frame, 0 to 1, where scored"),
        _limit("text_share", None, None, Reason.SCORE, "share of the frame that is text, mean, where scored"),
    )
}


def with_limits(texts: Iterable[str], known: Mapping[str, Limit] = DEFAULTS) -> dict[str, Limit]:
    """Return the default limits with those of `texts`, each NAME=MIN:MAX where either side may be empty.

    Raises ConfigError for anything else. A name that has no default is taken for a score's; whether any item
    has it is known only when the items are read.
    """
    limits = dict(known)
    for text in texts:
        name, equals, bounds = text.partition("=")
        name = name.strip()
        low, colon, high = bounds.partition(":")
        try:
            lowest = float(low) if low.strip() else -math.inf
            highest = float(high) if high.strip() else math.inf
        except ValueError:
            equals = ""
            lowest = highest = 0.0
        if not (name and equals and colon) or not lowest <= highest:
            raise ConfigError(f"a limit is NAME=MIN:MAX, either side may be empty, MIN <= MAX; got {text!r}")
        old = limits.get(name, Limit(name))
        limits[old.name] = Limit(old.name, lowest, highest, old.too_low, old.too_high, old.what)
    return limits


def require_known(limits: Mapping[str, Limit], measured: Iterable[str]) -> None:
    """Raise ConfigError for a limit on a number that no item has and that has no default, with the nearest name."""
    names = sorted({*measured, *DEFAULTS})
    for name in limits:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names)}"
            raise ConfigError(f"--set {name}: no item has a number of this name; {hint}")


def numbers(row: Row) -> dict[str, float]:
    """Return every number of a surveyed row: its measures, and what follows from its other columns."""
    found = {name: float(value) for name, value in dict(row["measures"] or {}).items() if value is not None}
    if row["kind"] == "video" and row["duration_s"] is not None:
        found["duration_s"] = float(row["duration_s"])
    if row["width"] and row["height"]:
        found["short_side"] = float(min(row["width"], row["height"]))
    return found


def measured_names(measures: pa.ChunkedArray) -> list[str]:
    """Return the names of all numbers in a column of measures (schemas.records.SURVEY), in order."""
    return sorted(pc.unique(measured_entries(measures)[0]).to_pylist())


def measured_entries(measures: pa.ChunkedArray) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """Return the names and numbers of a column of measures, one after the other."""
    kind = measures.type
    names, values = [], []
    for chunk in (chunk.drop_null() for chunk in measures.chunks):
        if len(chunk):
            first, end = chunk.offsets[0].as_py(), chunk.offsets[-1].as_py()  # of the whole, where this is a slice
            names.append(chunk.keys.slice(first, end - first))
            values.append(chunk.items.slice(first, end - first))
    return pa.chunked_array(names, kind.key_type), pa.chunked_array(values, kind.item_type)


def judge_numbers(found: Mapping[str, float], limits: Mapping[str, Limit]) -> tuple[Reason, str] | None:
    """Return why an item with these numbers is set aside, by the first limit that one breaks; None where none is."""
    verdicts = (limit.broken_by(found[name]) for name, limit in limits.items() if name in found)
    return next((verdict for verdict in verdicts if verdict), None)


def shown(number: float) -> str:
    """Return a number as people read it: four digits, thousands set apart."""
    if not math.isfinite(number) or abs(number) < 1000:
        return f"{number:.4g}"
    return f"{number:,.0f}"


def _text(bound: float) -> str:
    """Return a number with all its digits, so that it reads back as itself; nothing for no bound."""
    return "" if math.isinf(bound) else repr(float(bound)).removesuffix(".0")
