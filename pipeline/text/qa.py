"""Question-answer documents: context, questions and answers, of which only the answers are trained on.

One file `NAME.qa.json` is one document, so that its content hash identifies it, as for every other item:

    {"turns": [{"role": "context", "text": "Call me Ishmael. ..."},
               {"role": "question", "text": "Who tells the story?"},
               {"role": "answer", "text": "Ishmael."}]}

Turns can have any number and order, with at least one answer: for example chunks of a book followed by all questions,
as in LWM (arXiv 2402.08268, section 3.3), or questions between the chunks. The document's text is

    Call me Ishmael. ...
    USER: Who tells the story?
    ASSISTANT: Ishmael.

with LWM's prefixes. The loss covers everything in an answer after `ASSISTANT:`: the space, the text, and its end, which
is the end of the document after the last turn, and otherwise a newline. Before a question, the end has the question's
prefix, too, by which a model learns to end answers of any number of lines. Context is used unchanged, and consecutive
contexts are concatenated; a newline is inserted before a question or an answer if there is none. White space around
questions and answers is removed. Line endings become "\\n".

A prefix at the start of a line begins a turn, and nothing else does: where a text has a line that starts with a prefix
(a quoted chat, or a question that forges an answer), the line is indented by one space.

Cost: a file takes 3 to 12 times its size in memory while it is read, and at most 25 times.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from pipeline.text.encoding import Decoded, read_unicode
from schemas.counted import counted
from schemas.deadline import checked, checkpoint
from schemas.errors import ConfigError, InputError, Reason
from schemas.json_values import load_json

Role = Literal["context", "question", "answer"]
ROLES: tuple[str, ...] = get_args(Role)
_VERSION = 2  # increment when the same file gives another layout
_LINE_START = "(?:^|(?<=[\n\v\f\x1c-\x1e\x85\u2028\u2029]))"  # after all that is shown as a line break
_MAX_TURNS = 500_000  # a turn takes up to 3 KB of memory besides its text
_MAX_SHOWN_CHARS = 60  # of an invalid value in a message


@dataclass(frozen=True, kw_only=True)
class QaConfig:
    """How question-answer documents are read and formatted."""

    max_bytes: int = 64 << 20
    """Maximum size of a file. Larger files are rejected."""
    time_limit_s: float = 1800.0
    """Time limit per file in seconds, for the survey and for tokenization."""
    question_prefix: str = "USER:"
    """Prefix of each question."""
    answer_prefix: str = "ASSISTANT:"
    """Prefix of each answer."""

    def __post_init__(self) -> None:
        if self.max_bytes < 1:
            raise ConfigError(f"max_bytes must be at least 1, got {self.max_bytes}")
        if not self.time_limit_s > 0:
            raise ConfigError(f"time_limit_s must be above 0, got {self.time_limit_s}")
        for name in ("question_prefix", "answer_prefix"):
            word = getattr(self, name)
            if not word or word != word.strip() or not _is_plain(word):
                raise ConfigError(
                    f"{name} must be non-empty text without leading or trailing white space, got {word!r}"
                )

    @property
    def fingerprint_fields(self) -> tuple[int, str, str]:
        """The settings that the tokens depend on."""
        return _VERSION, self.question_prefix, self.answer_prefix

    @cached_property
    def forged_turn(self) -> re.Pattern[str]:
        """A pattern of the places where a line starts with a prefix."""
        return re.compile(f"{_LINE_START}(?={re.escape(self.question_prefix)}|{re.escape(self.answer_prefix)})")


class Turn(NamedTuple):
    """One turn of a document."""

    role: Role
    text: str


class WeightedText(NamedTuple):
    """A part of a document, and the loss weight of its tokens."""

    text: str
    weight: float


def read_turns(path: Path, config: QaConfig) -> list[Turn]:
    """Return the turns of a file. No turn is blank, and at least one is an answer. Raises InputError as `read_file`."""
    return parse_turns(read_file(path, config).text)


def read_file(path: Path, config: QaConfig) -> Decoded:
    """Return the content of a file, whose turns `parse_turns` returns.

    Raises InputError: MISSING; TOO_LARGE beyond `max_bytes`, before anything is read; NOT_TEXT for invalid bytes or
    escapes; UNREADABLE for invalid JSON or another structure, with the turn and the key; EMPTY for a document without
    an answer, or a blank turn.
    """
    try:
        return read_unicode(path, max_bytes=config.max_bytes)
    except InputError as e:
        if e.reason is not Reason.TOO_LARGE:
            raise
        size = path.stat().st_size
        raise InputError(
            e.reason,
            f"{path} has {size:,} bytes, the limit is {config.max_bytes:,}; raise qa.max-bytes or split the file",
        ) from e


def parse_turns(content: str) -> list[Turn]:
    """Return the turns in a file's text. Raises InputError UNREADABLE, NOT_TEXT or EMPTY as `read_file` describes."""
    try:
        document = load_json(content, object_pairs_hook=_object)
    except (ValueError, RecursionError) as e:
        raise InputError(Reason.UNREADABLE, f"invalid JSON: {e}") from e
    given = _fields(document, ("turns",), where="the file")["turns"]
    if not isinstance(given, list):
        raise InputError(Reason.UNREADABLE, f"'turns' must be a list, got {_shown(given)}")
    if len(given) > _MAX_TURNS:
        raise InputError(Reason.TOO_LARGE, f"{len(given):,} turns, the limit is {_MAX_TURNS:,}; split the file")
    turns = [_turn(values, where=f"turn {number}") for number, values in enumerate(checked(given), start=1)]
    if not any(turn.role == "answer" for turn in turns):
        raise InputError(
            Reason.EMPTY, f"there is no answer in {counted(len(turns), 'turn')}; at least one is required for training"
        )
    return turns


def lay_out(turns: Sequence[Turn], config: QaConfig) -> list[WeightedText]:
    """Return the document's text in parts with one loss weight each: 1 for answers, 0 for everything else.

    Adjacent parts have different weights, so that the tokens of a part are those of the same text in a prompt.
    """
    return [
        WeightedText("".join(text for text, _ in parts), weight)
        for weight, parts in groupby(_parts(turns, config), key=itemgetter(1))
    ]


def plain_text(turns: Sequence[Turn]) -> str:
    """Return the text of all turns without prefixes, to train a text tokenizer on."""
    return "\n".join(turn.text for turn in turns) + "\n"


def _parts(turns: Sequence[Turn], config: QaConfig) -> Iterator[WeightedText]:
    is_inside_line = is_begun = False  # a question is begun if its prefix ended the answer before it
    at = 0
    for role, group in groupby(checked(turns), key=itemgetter(0)):
        texts = [text for _, text in group]
        if role == "context":
            at += len(texts)
            context = _unforged("".join(texts), config)
            yield WeightedText(context, 0.0)
            is_inside_line = not context.endswith("\n")
            continue
        if is_inside_line:
            yield WeightedText("\n", 0.0)
        is_inside_line = False
        for text in texts:
            at += 1
            following = turns[at].role if at < len(turns) else None
            body = _unforged(f" {text.strip()}", config)
            if role == "question":
                prefix = "" if is_begun else config.question_prefix
                yield WeightedText(f"{prefix}{body}\n", 0.0)
            else:
                yield WeightedText(config.answer_prefix, 0.0)
                # The space belongs to the answer, because most text models encode it together with the first word.
                yield WeightedText(body + _end(following, config), 1.0)
            is_begun = role == "answer" and following == "question"


def _end(following: Role | None, config: QaConfig) -> str:
    """Return the end of an answer before a turn of the role `following`."""
    if following is None:
        return ""
    return f"\n{config.question_prefix}" if following == "question" else "\n"


def _unforged(text: str, config: QaConfig) -> str:
    """Return a text in which no line starts with a prefix."""
    return config.forged_turn.sub(" ", text)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    checkpoint()
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values:
            raise ValueError(f"the key {_shown(key)} occurs twice in one object")
        values[key] = value
    return values


def _turn(values: Any, *, where: str) -> Turn:
    fields = _fields(values, Turn._fields, where=where)
    role, text = fields["role"], fields["text"]
    if role not in ROLES:
        raise InputError(Reason.UNREADABLE, f"{where}: 'role' must be one of {', '.join(ROLES)}, got {_shown(role)}")
    if not isinstance(text, str):
        raise InputError(Reason.UNREADABLE, f"{where}: 'text' must be a string, got {_shown(text)}")
    if not _is_plain(text):
        raise InputError(Reason.NOT_TEXT, f"{where}: 'text' contains a NUL or an unpaired surrogate")
    if not text.strip():
        raise InputError(Reason.EMPTY, f"{where}: the {role} is blank; remove the turn or add its text")
    return Turn(role, text.replace("\r\n", "\n").replace("\r", "\n"))


def _fields(values: Any, names: tuple[str, ...], *, where: str) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise InputError(
            Reason.UNREADABLE, f"{where} must be an object with {' and '.join(names)}, got {_shown(values)}"
        )
    if wrong := sorted(values.keys() ^ set(names)):
        state = "unknown" if wrong[0] in values else "missing"
        raise InputError(
            Reason.UNREADABLE,
            f"{where}: the key {_shown(wrong[0])} is {state}; the keys are {' and '.join(names)}. "
            "Put metadata of the document into a manifest",
        )
    return values


def _shown(value: Any) -> str:
    """Return a JSON value of any size for a message, in ASCII, because unpaired surrogates cannot be encoded."""
    if isinstance(value, list | dict):
        return f"{'a list' if isinstance(value, list) else 'an object'} of {len(value)}"
    if isinstance(value, str) and len(value) > _MAX_SHOWN_CHARS:
        return f"{value[:_MAX_SHOWN_CHARS]!a}..."
    return ascii(value)


def _is_plain(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text
