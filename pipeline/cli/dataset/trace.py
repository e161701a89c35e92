"""Options of the command that shows where the tokens of a packed dataset come from."""

from __future__ import annotations

from dataclasses import dataclass

from tyro.conf import Positional

from pipeline.cli.settings import recorded_vision
from pipeline.dataset.trace.trace import trace_sequence, trace_token
from pipeline.runtime.progress import output
from schemas.errors import UsageError
from schemas.storage.location import Location, located
from schemas.storage.option import Address, NewFile


@dataclass(frozen=True, kw_only=True)
class Trace:
    """Show which documents a sequence is made of, or with --token the source of one token and its sentence or frame."""

    dataset: Positional[Address]
    """Directory of the dataset."""
    key: str
    """Key of the sequence, such as train-000000000."""
    shard: str | None = None
    """Name of the shard that contains the sequence. It is an error if the sequence is in another shard."""
    token: int | None = None
    """Index of one token in the sequence. Default: list all spans of the sequence."""
    out: NewFile | None = None
    """PNG file to write the token's frame to."""
    vision: str | None = None
    """The VQGAN that encoded the frames: the name of a shipped checkpoint, or a file of weights. Default: the
    workspace's, for a dataset in WORKSPACE/packed/."""
    text_tokenizer: Address | None = None
    """The text tokenizer that encoded the text, if the dataset has no copy of it."""

    def __call__(self, options: tuple[str, ...]) -> None:
        """Print the table or the facts, and write the frame."""
        console = output()
        if self.token is not None:
            facts = trace_token(
                self.dataset,
                self.key,
                self.token,
                shard=self.shard,
                out=self.out,
                vision=self.vision or recorded_vision(_workspace_of(self.dataset)),
                text_tokenizer=self.text_tokenizer,
            )
            for name, value in facts.items():
                console.print(f"{name:<12} {value}", soft_wrap=True)  # one line each, for grep
        elif self.out is not None:
            raise UsageError("--out needs --token: the token whose frame is to be written")
        else:
            console.print(trace_sequence(self.dataset, self.key, shard=self.shard))


def _workspace_of(dataset: Location) -> Location:
    """Return the folder in which the workspace of a dataset is, if it is in one."""
    return (located(dataset.local().resolve()) if dataset.is_local else dataset).parent.parent
