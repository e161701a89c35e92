"""The code blocks of a Markdown page, and the commands in those of a shell."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^```(\S*)$")


@dataclass(frozen=True, kw_only=True)
class CodeBlock:
    """One fenced block."""

    page: str  # path in the repository
    line: int  # of the fence
    language: str
    text: str

    @property
    def where(self) -> str:
        """The place of the block, for messages and names of tests."""
        return f"{self.page}:{self.line}"

    def commands(self) -> Iterator[list[str]]:
        """Yield the words of each command of a shell block, without comments and redirections."""
        joined = re.sub(r"\\\n\s*", " ", self.text)
        for line in joined.splitlines():
            for command in re.split(r" (?:&&|\|) ", re.split(r"(?:^|\s+)#|\s+>", line)[0]):
                if words := shlex.split(command):
                    yield words


def code_blocks(page: Path, top: Path) -> list[CodeBlock]:
    """Return the fenced blocks of a page of the repository at `top`."""
    blocks, start, language, body = list[CodeBlock](), 0, "", list[str]()
    for number, line in enumerate(page.read_text().splitlines(), 1):
        fence = _FENCE.match(line)
        if not start and fence:
            start, language, body = number, fence[1], []
        elif start and line == "```":
            name = page.relative_to(top).as_posix()
            blocks.append(CodeBlock(page=name, line=start, language=language, text="\n".join(body)))
            start = 0
        elif start:
            body.append(line)
    return blocks
