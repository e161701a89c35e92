"""A workspace and a curriculum of a few steps of a very small model."""

from __future__ import annotations

from pathlib import Path

from pipeline.runtime.workspace import Workspace
from tests.support.token_stores import book, video, write_workspace

_HEAD = """
[train]
checkpoint-every = {every}
eval-every = {every}
batch-size = 2

[train.model]
recipe = "debug"
dim = 16
layers = 1
heads = 2
kv-heads = 1
head-dim = 8
ff-dim = 32
"""
_STAGE = """
[[stage]]
name = "{context}"
context = {context}

[stage.train]
steps = {steps}
"""


def write_curriculum(path: Path, *, contexts: tuple[int, ...] = (64, 128), steps: int = 3, every: int = 2) -> Path:
    """Write a curriculum with a stage for each context."""
    stages = [_STAGE.format(context=context, steps=steps) for context in contexts]
    path.write_text(_HEAD.format(every=every) + "".join(stages))
    return path


def tokenized_workspace(root: Path) -> Workspace:
    """Return a workspace with a token store of some books and videos."""
    training = [*(book(f"b{n}", 300) for n in range(6)), *(video(f"v{n}", [8]) for n in range(12))]
    return write_workspace(root, [*training, book("held", 300, split="val"), video("seen", [8], split="val")])
