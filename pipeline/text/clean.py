"""Cleaning: what stands in a book's file and is not the book is taken out, and what print did to lines is undone.

Five steps in this order, each deterministic, each of which can be turned off, each counted:

repair      ftfy: text decoded twice, control characters, ligatures, line separators; white space at line ends and runs
            of blank lines. Quotes stay as they are
matter      Project Gutenberg's header, license and credits, transcriber's notes, Google's and the Internet Archive's
            notices
furniture   in scans: bare page numbers, running heads
hyphens     words that a line end cuts in two
lines       hard-wrapped prose becomes one line a paragraph; verse, lists, tables and indented blocks stay

Cost: the text and its lines in memory, about 10 times its characters in bytes; 3 million characters a second.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import dropwhile

import ftfy

from pipeline.text.hard_wraps import join_lines
from pipeline.text.running_headers import strip_running_headers

_CHUNK_CHARS = 1 << 16
_FTFY = ftfy.TextFixerConfig(
    unescape_html=False, uncurl_quotes=False, fix_character_width=False, explain=False, normalization="NFC"
)
_START = re.compile(
    r"^\W*(?:START\W{1,4}(?:OF )?(?:THE|THIS) PROJECT GUTENBERG\b.*|\*?END\*?\W{0,2}THE SMALL PRINT!.*\*END\*.*"
    r"|START OF (?:THE|THIS) PROJECT GUTENBERG.*)$",
    re.I,
)
_END = re.compile(r"^\W*END\W{1,4}(?:OF )?(?:THE |THIS )?PROJECT GUTENBERG(?!'s? editions).*$", re.I)
_SMALL_PRINT_END = re.compile(r"^\W*END\W{1,4}THE SMALL PRINT!.*$", re.I)
# Paragraphs that are no part of a book wherever they stand; looked for among its first and last ones.
_NOTICES = re.compile(
    r"""this\ e-?(?:book|text)\ is\ for\ the\ use\ of\ anyone\ anywhere
    | ^\W*the\ project\ gutenberg\ (?:e-?book|e-?text)\b
    | ^\W*project\ gutenberg'?s?\b.{1,120},?\ by\b
    | ^\W*end\ of\ (?:the\ )?project\ gutenberg
    | \bwww\.gutenberg\.(?:org|net)\b
    | \bgutenberg\ (?:literary\ archive\ foundation|volunteers)\b
    | online\ distributed\ proofread
    | ^\W*\[?transcriber'?s?'?\ notes?\b
    | digital\ copy\ of\ a\ book\ that\ was\ preserved\ for\ generations
    | ^\W*about\ google\ book\ search
    | digiti[sz]ed\ by\ (?:the\ )?(?:internet\ archive|google)
    | ^\W*(?:release\ date|posting\ date|last\ updated|character\ set\ encoding):\s""",
    re.I | re.X,
)
_CREDIT = re.compile(
    r"\W*(?:this (?:e-?text|e-?book) (?:was )?)?(?:e-?text prepared|produced|transcribed|digitized|scanned) by\b", re.I
)
_CREDIT_CHARS = 300  # a longer paragraph that begins so is one of the book
_MATTER_PARAGRAPHS = 40  # looked at on either side
_NOTICE_CHARS = 4000  # a longer paragraph is none
_TRANSCRIBER = re.compile(r"\[\s*transcriber'?s?'? notes?\b[^\[\]]{0,2000}\]", re.I)
_HYPHEN = re.compile(r"(?<!\w)(\w{1,60})(-|\u00ad|\u2010)\n([ \t\f]{0,80})(\w+)")
_WORD = re.compile(r"\w+(?:[-\u2010]\w+)*")


def clean(text: str, steps: Iterable[str]) -> tuple[str, dict[str, float]]:
    """Return the text after the named steps, and a count of each.

    Lines end in "\\n" in both. The counts: `repaired_lines`, `boilerplate_share` (of the characters),
    `running_header_lines`, `hyphens_joined`, `lines_joined`.
    """
    wanted, counts = set(steps), {}
    for step, (name, apply) in _STEPS.items():
        if step in wanted:
            text, counts[name] = apply(text)
    return text, counts


def repair_text(text: str) -> tuple[str, float]:
    """Mend the encoding and the white space; returns the number of lines that changed by more than white space."""
    # Whether entities are text or markup is a property of the whole: where there is a tag they are left alone.
    config = _FTFY._replace(unescape_html="<" not in text)
    changed = 0
    parts = []
    for chunk in _chunks(text):
        if not chunk.isascii() or _UNPLAIN.search(chunk):
            fixed = ftfy.fix_text(chunk, config)
            changed += sum(a != b for a, b in zip(chunk.split("\n"), fixed.split("\n"), strict=False))
            chunk = fixed
        parts.append(chunk)
    text = "\n".join(line.rstrip(" \t\u00a0") for line in "".join(parts).split("\n"))
    text = re.sub(r"\n{4,}", "\n\n\n", text)
    return text.lstrip("\n\ufeff").rstrip() + "\n", float(changed)


_UNPLAIN = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f]|&[#a-zA-Z]")  # what ftfy could change in ASCII


def strip_boilerplate(text: str) -> tuple[str, float]:
    """Take out what publishers of scans and transcriptions put around a book; returns the share of characters."""
    kept = _TRANSCRIBER.sub("", "\n".join(_inside(text.split("\n"))))
    paragraphs = re.split(r"(\n\s*\n)", kept)  # text and the white space between, by turns
    front = range(0, min(len(paragraphs), 2 * _MATTER_PARAGRAPHS), 2)
    back = range(max(0, (len(paragraphs) - 1) // 2 * 2 - 2 * _MATTER_PARAGRAPHS), len(paragraphs), 2)
    for i in {*front, *back}:
        if _is_notice(paragraphs[i]):
            paragraphs[i] = ""
            if i + 1 < len(paragraphs):
                paragraphs[i + 1] = ""
    result = "\n".join(_from_first_of_book("".join(paragraphs).split("\n"))).strip("\n") + "\n"
    if not result.strip():  # a book about nothing else is no book of theirs
        return text, 0.0
    lost = len(text) - len(result)
    return (result, lost / len(text)) if lost > 0 and result.strip() != text.strip() else (text, 0.0)


def join_hyphens(text: str) -> tuple[str, float]:
    """Put words together again that a line end cuts, as the book itself spells them elsewhere.

    "exam-" and "ple" become "example" where the book has that word, or has not both parts as words; "well-" and
    "known" become "well-known" where the book has that; else they are left as they are.
    """
    if not _HYPHEN.search(text):
        return text, 0.0
    known = Counter(word.casefold() for word in _WORD.findall(_HYPHEN.sub(" ", text)))
    joined = 0

    def mend(match: re.Match[str]) -> str:
        nonlocal joined
        first, hyphen, gap, second = match.groups()
        feed = "\f" * gap.count("\f")
        whole, hyphened = (first + second).casefold(), f"{first}-{second}".casefold()
        is_soft = hyphen == "\u00ad"
        if not is_soft and known[hyphened] > known[whole]:
            joined += 1
            return f"{first}-{second}{feed}"
        parts_are_words = known[first.casefold()] and known[second.casefold()]
        if is_soft or (second[0].islower() and first[-1].isalpha() and (known[whole] or not parts_are_words)):
            joined += 1
            return first + second + feed
        return match[0]

    return _HYPHEN.sub(mend, text), float(joined)


def _inside(lines: list[str]) -> Iterator[str]:
    """Yield the lines between the marks of Project Gutenberg: from each start, or the first line, to the next end."""
    starts = [i for i, line in enumerate(lines) if "gutenberg" in line.lower() and _START.match(line)]
    starts += [i for i, line in enumerate(lines) if "SMALL PRINT" in line and _SMALL_PRINT_END.match(line)]
    ends = [i for i, line in enumerate(lines) if "gutenberg" in line.lower() and _END.match(line)]
    if not starts and not ends:
        yield from lines
        return
    inside, marks = not starts, {**dict.fromkeys(ends, False), **dict.fromkeys(starts, True)}
    for i, line in enumerate(lines):
        if i in marks:
            inside = marks[i]
        elif inside:
            yield line


def _is_notice(paragraph: str) -> bool:
    return _is_credit(paragraph) or (len(paragraph) <= _NOTICE_CHARS and _NOTICES.search(paragraph) is not None)


def _is_credit(text: str) -> bool:
    return len(text) <= _CREDIT_CHARS and _CREDIT.match(text) is not None


def _from_first_of_book(lines: Iterable[str]) -> Iterator[str]:
    """Leave out credits that are the first lines yet: in some files no blank line parts them from the book."""
    return dropwhile(lambda line: not line.strip() or _is_credit(line), lines)


def _chunks(text: str) -> Iterator[str]:
    start = 0
    while start < len(text):
        end = text.rfind("\n", start, start + _CHUNK_CHARS) + 1 or text.find("\n", start + _CHUNK_CHARS) + 1
        end = end or len(text)
        yield text[start:end]
        start = end


_STEPS: dict[str, tuple[str, Callable[[str], tuple[str, float]]]] = {
    "repair_text": ("repaired_lines", repair_text),
    "strip_boilerplate": ("boilerplate_share", strip_boilerplate),
    "strip_running_headers": ("running_header_lines", strip_running_headers),
    "join_hyphens": ("hyphens_joined", join_hyphens),
    "join_lines": ("lines_joined", join_lines),
}
