"""Question-answer documents: texts, questions about them, and answers, of which only the answers are learned.

One file `NAME.qa.json` is one document, so that its identity is its bytes, as everywhere else (a file of many would
make one changed answer change them all):

    {"turns": [{"role": "context", "text": "Call me Ishmael. ..."},
               {"role": "question", "text": "Who tells the story?"},
               {"role": "answer", "text": "Ishmael."}]}

Turns may come in any number and order, with one answer at least: chunks of a book first and all the questions behind
them, as LWM asks about books (arXiv 2402.08268, section 3.3), or questions in between. They are laid out as

    Call me Ishmael. ...
    USER: Who tells the story?
    ASSISTANT: Ishmael.

with LWM's words. Learned is what stands in an answer behind `ASSISTANT:`: the space, the text, and what ends it, which
is a newline, or the document's end where nothing follows. Context is taken as it is, and neighboring ones are joined
as they are; before a question or an answer a newline is put where there is none. Of questions and answers the white
space around them is left out. Line ends become "\\n".

Cost: a file takes 3 to 12 times its size in memory while it is read, and 25 times where it is made to hurt.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from pipeline.text.encoding import read_utf8
from schemas.errors import ConfigError, InputError, Reason

Role = Literal["context", "question", "answer"]
ROLES: tuple[str, ...] = get_args(Role)
_SHOWN = 60  # characters of a wrong value in a message


@dataclass(frozen=True, kw_only=True)
class QaConfig:
    """How question-answer documents are read and laid out."""

    max_bytes: int = 64 << 20
    """Larger files are set aside."""
    question_word: str = "USER:"
    """Stands before each question."""
    answer_word: str = "ASSISTANT:"
    """Stands before each answer."""

    def __post_init__(self) -> None:
        if self.max_bytes < 1:
            raise ConfigError(f"max_bytes must be at least 1, got {self.max_bytes}")
        for name in ("question_word", "answer_word"):
            word = getattr(self, name)
            if not word or word != word.strip() or not _is_plain(word):
                raise ConfigError(f"{name} must be text without white space around it, got {word!r}")

    @property
    def fingerprint_fields(self) -> tuple[str, str]:
        """What the tokens depend on."""
        return self.question_word, self.answer_word


class Turn(NamedTuple):
    """One thing that is said."""

    role: Role
    text: str


class WeightedText(NamedTuple):
    """A stretch of a document, and the weight of its tokens as targets."""

    text: str
    weight: float


def read_turns(path: Path, config: QaConfig) -> list[Turn]:
    """Return the turns of a file; each holds something besides white space, and one at least is an answer.

    Raises InputError: MISSING; TOO_LARGE past `max_bytes`, before anything is read; NOT_TEXT for bytes or escapes that
    are no text; UNREADABLE for what is no JSON or is built otherwise than above, with the turn and the key; EMPTY where
    there is no answer, or a turn is blank.
    """
    try:
        content = "".join(read_utf8(path, max_bytes=config.max_bytes))
    except InputError as e:
        if e.reason is not Reason.TOO_LARGE:
            raise
        size = path.stat().st_size
        raise InputError(
            e.reason,
            f"{path} has {size:,} bytes, the limit is {config.max_bytes:,}: raise qa.max-bytes, or cut the file",
        ) from e
    return parse_turns(content)


def parse_turns(content: str) -> list[Turn]:
    """Return the turns that a file's text holds; raises InputError as `read_turns` does."""
    try:
        document = json.loads(content, object_pairs_hook=_object)
    except (ValueError, RecursionError) as e:
        raise InputError(Reason.UNREADABLE, f"it cannot be read as JSON: {e}") from e
    given = _fields(document, ("turns",), where="the file")["turns"]
    if not isinstance(given, list):
        raise InputError(Reason.UNREADABLE, f"'turns' must be a list, got {_shown(given)}")
    turns = [_turn(values, where=f"turn {number}") for number, values in enumerate(given, start=1)]
    if not any(turn.role == "answer" for turn in turns):
        raise InputError(Reason.EMPTY, f"none of the {len(turns)} turns is an answer: there is nothing to learn")
    return turns


def lay_out(turns: Sequence[Turn], config: QaConfig) -> list[WeightedText]:
    """Return the document's text in stretches of one weight each: 1 what is learned, 0 what it follows from.

    A stretch is as long as can be, so that its tokens are those of the same text in a prompt.
    """
    return [
        WeightedText("".join(text for text, _ in parts), weight)
        for weight, parts in groupby(_parts(turns, config), key=itemgetter(1))
    ]


def plain_text(turns: Sequence[Turn]) -> str:
    """Return what is said, a turn a line or more, without the layout's words: to train a text tokenizer on."""
    return "\n".join(turn.text for turn in turns) + "\n"


def _parts(turns: Sequence[Turn], config: QaConfig) -> Iterator[WeightedText]:
    is_line_begun = False
    for number, (role, text) in enumerate(turns, start=1):
        if role == "context":
            yield WeightedText(text, 0.0)
            is_line_begun = not text.endswith("\n")
            continue
        if is_line_begun:
            yield WeightedText("\n", 0.0)
        is_line_begun = False
        if role == "question":
            yield WeightedText(f"{config.question_word} {text.strip()}\n", 0.0)
        else:
            yield WeightedText(config.answer_word, 0.0)
            # The space is the answer's, as in most models it is one piece with the first word.
            yield WeightedText(f" {text.strip()}" + ("\n" if number < len(turns) else ""), 1.0)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values:
            raise ValueError(f"the key {_shown(key)} is there twice in one object")
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
        raise InputError(Reason.NOT_TEXT, f"{where}: 'text' holds a NUL or half a surrogate pair, which no text does")
    if not text.strip():
        raise InputError(Reason.EMPTY, f"{where}: the {role} is blank; leave the turn out, or fill it")
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
            "Facts about a document go into a manifest",
        )
    return values


def _shown(value: Any) -> str:
    """Spell a JSON value of any size for a message, in ASCII: half a surrogate pair could not be written down."""
    if isinstance(value, list | dict):
        return f"{'a list' if isinstance(value, list) else 'an object'} of {len(value)}"
    if isinstance(value, str) and len(value) > _SHOWN:
        return f"{value[:_SHOWN]!a}..."
    return ascii(value)


def _is_plain(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text
