"""Measures how often the encoding of a text file is recognized: correct, rejected, or silently wrong.

    python benchmarks/text_encodings.py [--smoke] [--repeat 3] [--seed 0] [--out encodings.json]

Prose of eight languages (our own sentences in `support/prose`, drawn at random into paragraphs) is written in twelve
encodings, those of its script, at lengths of 200 to 20,000 characters, clean and with one to five damaged bytes, and
decoded by `pipeline.text.encoding.decode` and by the detectors that a user would pick. Damage is of three kinds: a byte
is replaced by one from 0x80 to 0xFF, a byte is deleted, or a character is replaced by a stray byte of cp1252 (a letter
or quotation mark). A byte order mark is left intact.

A result is correct if all characters that are not next to a damaged byte are as before, in their order. It is rejected
if there is no text, and silently wrong otherwise.

chardet and charset-normalizer are measured with their defaults, as `data.decode(detect(data))`; the other columns need
the packages faust-cchardet (MPL or GPL) and chardetng-py (not maintained since 2025), and are left out without them.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import tyro

from pipeline.text.encoding import decode
from schemas.errors import InputError

PROSE = Path(__file__).parent / "support" / "prose"
UNICODE = {
    "UTF-8": "utf-8",
    "UTF-8, BOM": "utf-8-sig",
    "UTF-16, BOM": "utf-16",
    "UTF-16 LE": "utf-16-le",
}
WESTERN = {"cp1252": "cp1252", "MacRoman": "mac_roman"}
ENCODINGS = {
    "en": UNICODE | WESTERN,
    "fr": UNICODE | WESTERN | {"cp850": "cp850"},
    "de": UNICODE | WESTERN | {"cp850": "cp850"},
    "pl": UNICODE | {"cp1250": "cp1250", "ISO 8859-2": "iso8859_2"},
    "ru": UNICODE | {"cp1251": "cp1251", "KOI8-R": "koi8_r", "cp866": "cp866"},
    "el": UNICODE | {"cp1253": "cp1253", "ISO 8859-7": "iso8859_7"},
    "ja": UNICODE | {"Shift JIS": "cp932", "EUC-JP": "euc_jp"},
    "zh": UNICODE | {"GB 18030": "gb18030"},
}
LENGTHS = (200, 1000, 5000, 20_000)
NEIGHBORS = 2  # characters next to a damaged one that are not compared
SHORTEST = 4  # characters between two damaged ones that are compared
MAX_GAP = 8  # characters that one damaged byte can become
CORRECT, REJECTED, WRONG = "correct", "rejected", "silently wrong"


@dataclass(frozen=True)
class Options:
    """Measure the detection of encodings."""

    repeat: int = 3  # texts of each language, length and damage
    seed: int = 0
    smoke: bool = False  # one short text each
    out: Path | None = None  # write the figures to this JSON file


class Case(NamedTuple):
    """A file, and the text that it was written from."""

    language: str
    encoding: str  # label
    length: int
    damaged: tuple[int, ...]  # characters, each by one byte
    text: str
    data: bytes


def compose(language: str, length: int, rng: random.Random) -> str:
    """Return paragraphs of random sentences, `length` characters in all."""
    sentences = (PROSE / f"{language}.txt").read_text(encoding="utf-8").splitlines()
    space = "" if language in ("ja", "zh") else " "
    text = ""
    while len(text) < length:
        text += space.join(rng.choice(sentences) for _ in range(rng.randint(2, 6))) + "\n"
    return text[:length]


def encode(text: str, codec: str) -> tuple[str, list[bytes]]:
    """Return the text that the codec can represent, and the bytes of each of its characters."""
    text = text.encode(codec, "ignore").decode(codec)
    if codec in ("utf-8-sig", "utf-16"):
        plain = {"utf-8-sig": "utf-8", "utf-16": "utf-16-le"}[codec]
        return text, [c.encode(plain) for c in text]
    return text, [c.encode(codec) for c in text]


def damage(units: list[bytes], places: Sequence[int], rng: random.Random) -> list[bytes]:
    """Return the bytes of characters, of which those at `places` are damaged."""
    units = list(units)
    for at in places:
        kind = rng.randrange(3)
        unit = bytearray(units[at])
        if kind == 0:
            unit[rng.randrange(len(unit))] = rng.randrange(0x80, 0x100)
        elif kind == 1:
            del unit[rng.randrange(len(unit))]
        else:
            unit = bytearray([rng.choice(b"\xe9\xe8\xe0\xf1\xfc\xf6\xe7\x92\x93\x96")])
        units[at] = bytes(unit)
    return units


def make_cases(options: Options) -> Iterator[Case]:
    marks = {"utf-8-sig": b"\xef\xbb\xbf", "utf-16": b"\xff\xfe"}
    for language, encodings in ENCODINGS.items():
        for label, codec in encodings.items():
            for length in LENGTHS[: 1 if options.smoke else None]:
                for damaged in range(0, 6, 5 if options.smoke else 1):
                    for number in range(options.repeat):
                        rng = random.Random(f"{options.seed} {language} {label} {length} {damaged} {number}")
                        text, units = encode(compose(language, length, rng), codec)
                        places = tuple(sorted(rng.sample(range(len(units)), damaged)))
                        data = marks.get(codec, b"") + b"".join(damage(units, places, rng))
                        yield Case(language, label, length, places, text, data)


def judge(case: Case, decoded: str | None) -> str:
    if decoded is None:
        return REJECTED
    at = 0
    for start, end in pairwise([-1, *case.damaged, len(case.text)]):
        # Next to a damaged byte, a decoder of several bytes a character can take a neighbor for a part of it.
        first, last = start + 1 + (NEIGHBORS if start >= 0 else 0), end - (NEIGHBORS if end < len(case.text) else 0)
        if last - first < SHORTEST:
            continue
        intact = case.text[first:last]
        found = decoded.find(intact, at, at + len(intact) + MAX_GAP * (1 + len(case.damaged)))
        if found < 0:
            return WRONG
        at = found + len(intact)
    return CORRECT if case.damaged or decoded == case.text else WRONG


Detector = Callable[[bytes], str | None]


def ours(data: bytes) -> str | None:
    try:
        return decode(data).text
    except InputError:
        return None


def decoded_as(detect: Callable[[bytes], str | None]) -> Detector:
    """Return a function that decodes data in the encoding that `detect` finds."""

    def decode_detected(data: bytes) -> str | None:
        name = detect(data)
        try:
            return None if name is None else data.decode(name).removeprefix("\ufeff")
        except (LookupError, ValueError):
            return None

    return decode_detected


def charset_normalizer(module: ModuleType) -> Detector:
    def detect(data: bytes) -> str | None:
        best = module.from_bytes(data).best()
        return best and best.encoding

    return decoded_as(detect)


def detectors() -> dict[str, Detector]:
    """Return the detectors that are installed, ours first."""
    found: dict[str, Detector] = {"ours": ours}
    makers: dict[str, Callable[[ModuleType], Detector]] = {
        "chardet": lambda module: decoded_as(lambda data: module.detect(data)["encoding"]),
        "charset_normalizer": charset_normalizer,
        "cchardet": lambda module: decoded_as(lambda data: module.detect(data)["encoding"]),
        "chardetng_py": lambda module: decoded_as(module.detect),
    }
    for name, make in makers.items():
        with contextlib.suppress(ImportError):
            found[name] = make(importlib.import_module(name))
    return found


Outcomes = dict[str, Counter[str]]


def measure(options: Options) -> tuple[dict[str, dict[str, Outcomes]], dict[str, float], list[str]]:
    """Return outcomes by table, row and detector, milliseconds per file by detector, and our silent errors."""
    tables: dict[str, dict[str, Outcomes]] = defaultdict(lambda: defaultdict(lambda: defaultdict(Counter)))
    spent: Counter[str] = Counter()
    errors = []
    found = detectors()
    cases = 0
    for case in make_cases(options):
        cases += 1
        for name, detector in found.items():
            began = time.perf_counter()
            decoded = detector(case.data)
            spent[name] += time.perf_counter() - began
            outcome = judge(case, decoded)
            state = "damaged" if case.damaged else "clean"
            tables[state][case.encoding][name][outcome] += 1
            tables["by language"][f"{case.language}, {state}"][name][outcome] += 1
            tables["by length"][f"{case.length:,}, {state}"][name][outcome] += 1
            if name == "ours" and outcome == WRONG:
                errors.append(f"{case.language} {case.encoding} {case.length} {len(case.damaged)}")
    return tables, {name: 1000 * s / cases for name, s in spent.items()}, errors


def show(title: str, rows: dict[str, Outcomes]) -> None:
    names = list(next(iter(rows.values())))
    print(f"\n{title}: correct / rejected / silently wrong")
    print(f"{'':<20}" + "".join(f"{name:>20}" for name in names))
    total: Outcomes = defaultdict(Counter)
    for outcomes in rows.values():
        for name in names:
            total[name].update(outcomes[name])
    for label, outcomes in [*rows.items(), ("all", total)]:
        cells = (" / ".join(str(outcomes[name][what]) for what in (CORRECT, REJECTED, WRONG)) for name in names)
        print(f"{label:<20}" + "".join(f"{cell:>20}" for cell in cells))


def main(options: Options) -> None:
    if options.smoke:
        options = replace(options, repeat=1)
    tables, milliseconds, errors = measure(options)
    for title, rows in tables.items():
        show(title, rows)
    print("\nmilliseconds per file: " + ", ".join(f"{name} {ms:.1f}" for name, ms in milliseconds.items()))
    print("our silent errors:", ", ".join(f"{case} ({n})" for case, n in Counter(errors).most_common()) or "none")
    unicode_errors = [error for error in errors if error.split(" ", 1)[1].startswith("UTF-8")]
    if unicode_errors:
        raise SystemExit(f"{len(unicode_errors)} files in UTF-8 are silently wrong")
    if options.out:
        options.out.write_text(json.dumps(tables, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main(tyro.cli(Options))
