"""Finds the captions and transcripts of a folder: files that are named like a video or image next to them.

    movie.mp4    movie.txt  movie.en.txt  movie.mp4.txt                  captions
                 movie.srt  movie.en-US.vtt  movie.de.sdh.srt  ...       transcripts

A sidecar has the name of its item, with or without the item's extension, then tags separated by points (a language as
in BCP 47, and words such as "forced"), then its own extension. Names are compared as they are, then in Unicode
normalization form C, then without regard to case: file systems and archives change both. A sidecar belongs to the items
with the longest name that fits, so `movie.part.srt` belongs to `movie.part.mp4` and not to `movie.mp4`.

Of several sidecars of an item, the one in the most preferred language is used; otherwise one without tags; otherwise
the first by language, in the order of the codes. Subtitles for the hard of hearing are used only if there are no
others, and forced ones, which translate a few lines, last.

A text of more than `MAX_CAPTION_BYTES` is a book, whatever its name: a caption is not as long, and a book can have the
name of its cover picture.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import NamedTuple

from pipeline.kinds.registry import kind_of_file

CAPTIONS = (".txt",)
TRANSCRIPTS = (".srt", ".vtt", ".ass", ".ssa", ".sbv")  # in order of preference
MAX_CAPTION_BYTES = 1 << 16  # about 10,000 words

_FORCED = frozenset(["forced", "foreign", "signs"])
_HARD_OF_HEARING = frozenset(["sdh", "cc", "hi", "hoh"])
_OTHER_TAGS = frozenset(["default", "full", "auto", "asr", "orig"])
_WORDS = _FORCED | _HARD_OF_HEARING | _OTHER_TAGS
_MAX_TAGS = 3
# Nearly every word of three letters is the code of some language, so only these, and those that have a code of two
# letters ("eng"), count.
_LONG_CODES = frozenset(["ast", "ceb", "cmn", "fil", "mul", "nan", "und", "wuu", "yue"])


class Sidecar(NamedTuple):
    """The name of a caption or transcript, and the language in it."""

    file: str
    language: str | None


@dataclass(frozen=True, kw_only=True)
class FolderSidecars:
    """The sidecars of one folder. `files` are all of them, used or not: none is an item of its own."""

    captions: Mapping[str, Sidecar] = field(default_factory=dict)  # by name of the item
    transcripts: Mapping[str, Sidecar] = field(default_factory=dict)
    files: frozenset[str] = frozenset()

    @property
    def unused(self) -> list[str]:
        """The sidecars of items that have a better one."""
        used = {sidecar.file for found in (self.captions, self.transcripts) for sidecar in found.values()}
        return sorted(self.files - used)


class _Tags(NamedTuple):
    language: str | None = None
    is_forced: bool = False
    is_for_hard_of_hearing: bool = False


class _Owner(NamedTuple):
    name: str
    stem: str  # of the item's name, or its whole name

    def difference(self, stem: str) -> int:
        """Return 0 if a sidecar's name is the same, 1 if its normalization differs, 2 if its case does."""
        return 0 if self.stem == stem else 1 if _composed(self.stem) == _composed(stem) else 2


class _Match(NamedTuple):
    file: str
    tags: _Tags
    has_tags: bool
    owner: _Owner
    difference: int  # of the names

    def rank(self, languages: Sequence[str]) -> tuple[object, ...]:
        """Return a key by which the best of several sidecars is the least."""
        tags, extension = self.tags, _suffix(self.file)
        preference = _preference(tags.language, languages)
        quality = tags.is_forced, preference, self.has_tags, tags.is_for_hard_of_hearing, tags.language or ""
        is_general = self.owner.stem != self.owner.name  # movie.srt rather than movie.mp4.srt
        order = TRANSCRIPTS.index(extension) if extension in TRANSCRIPTS else 0
        return *quality, self.difference, is_general, order, self.file


class _Owners:
    """The items of a folder by their names, in any Unicode normalization and letter case."""

    def __init__(self, names: Iterable[str]) -> None:
        self._by_key: dict[str, list[_Owner]] = {}
        for name in names:
            for stem in (PurePath(name).stem, name):
                self._by_key.setdefault(_folded(stem), []).append(_Owner(name, stem))

    def named(self, stem: str) -> list[_Owner]:
        """Return the items with this name, or with the most similar one."""
        owners = self._by_key.get(_folded(stem), [])
        least = min((owner.difference(stem) for owner in owners), default=0)
        return [owner for owner in owners if owner.difference(stem) == least]


def find_sidecars(
    names: Sequence[str], size_of: Callable[[str], int | None], languages: Sequence[str] = ()
) -> FolderSidecars:
    """Return the sidecars among the names in one folder, files and subfolders; `languages` are preferred in order.

    `size_of` returns the size in bytes of a file; None for an entry that cannot be read, which is a sidecar as well:
    its item is then rejected with the reason.
    """
    kinds = {name: kind for name in names if (kind := kind_of_file(name))}
    captioned = _Owners(name for name, kind in kinds.items() if kind.takes_captions)
    transcribed = _Owners(name for name, kind in kinds.items() if kind.takes_transcripts)
    captions = _by_item((name for name in names if _suffix(name) in CAPTIONS), captioned)
    transcripts = _by_item((name for name in names if _suffix(name) in TRANSCRIPTS), transcribed)
    captions = {
        name: small for name, found in captions.items() if (small := [m for m in found if _is_small(m, size_of)])
    }
    return FolderSidecars(
        captions=_best(captions, languages),
        transcripts=_best(transcripts, languages),
        files=frozenset(match.file for found in (captions, transcripts) for m in found.values() for match in m),
    )


def _is_small(match: _Match, size_of: Callable[[str], int | None]) -> bool:
    size = size_of(match.file)
    return size is None or size <= MAX_CAPTION_BYTES


def _suffix(name: str) -> str:
    return PurePath(name).suffix.lower()


def _by_item(names: Iterable[str], owners: _Owners) -> dict[str, list[_Match]]:
    found: dict[str, list[_Match]] = {}
    for name in names:
        for owner, match in _matches(name, owners):
            found.setdefault(owner, []).append(match)
    return found


def _matches(file: str, owners: _Owners) -> Iterator[tuple[str, _Match]]:
    """Yield the items that a sidecar belongs to, by name."""
    parts = PurePath(file).stem.split(".")
    for count in range(min(_MAX_TAGS, len(parts) - 1) + 1):
        stem, tags = ".".join(parts[: len(parts) - count]), _tags(parts[len(parts) - count :])
        if tags is None:
            return
        if found := owners.named(stem):
            for owner in found:
                yield owner.name, _Match(file, tags, count > 0, owner, owner.difference(stem))
            return


def _best(found: Mapping[str, list[_Match]], languages: Sequence[str]) -> dict[str, Sidecar]:
    best = {name: min(matches, key=lambda match: match.rank(languages)) for name, matches in found.items()}
    return {name: Sidecar(match.file, match.tags.language) for name, match in best.items()}


def _preference(language: str | None, languages: Sequence[str]) -> int:
    """Return the place of a language in a list in which "en" stands for all kinds of English, its length if absent."""
    names = {language, (language or "").partition("-")[0]}
    return next((number for number, name in enumerate(languages) if name in names), len(languages))


def _tags(words: Sequence[str]) -> _Tags | None:
    """Return what the tags of a name say, None if one of them is unknown."""
    languages, others = [], set()
    for number, word in enumerate(words):
        name = word.lower()
        # "hi" is Hindi, and "hearing impaired" after another language.
        if name in _WORDS and (name != "hi" or number):
            others.add(name)
        elif language := language_of(word):
            languages.append(language)
        else:
            return None
    if len(languages) > 1:
        return None
    return _Tags(next(iter(languages), None), bool(others & _FORCED), bool(others & _HARD_OF_HEARING))


def language_of(tag: str) -> str | None:
    """Return the standard form of a language tag (BCP 47), with a hyphen or underscore; None if it is none.

    Codes of three letters become those of two; an unknown script, region or suffix ("en-orig") is left out.
    """
    import langcodes  # reads tables of all languages; most folders have no such names

    name = tag.replace("_", "-")
    code = name.partition("-")[0]
    if not (code.isascii() and code.isalpha() and 2 <= len(code) <= 3) or not langcodes.tag_is_valid(code):
        return None
    language = langcodes.standardize_tag(name if langcodes.tag_is_valid(name) else code)
    base = language.partition("-")[0]
    return language if len(base) == 2 or base in _LONG_CODES else None


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _folded(name: str) -> str:
    return _composed(_composed(name).casefold())
