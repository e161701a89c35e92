"""Held-out videos and images: what an evaluation may use of the inputs that it is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from pipeline.dedup.similarity import Signature
from pipeline.kinds.registry import kind_of
from pipeline.runtime.interrupt import raise_if_stopping
from pipeline.sources.access import AccessConfig
from pipeline.sources.inputs import local_file
from pipeline.sources.manifest import read_valid_items
from pipeline.tokenizer_jobs.training_set import TrainingSet, read_training_table, signature_of, training_table
from pipeline.video.decoder import Decoder
from schemas.counted import counted
from schemas.errors import ConfigError, InputError
from schemas.record_errors import record_errors
from schemas.runs.messages import messages
from tokenizer.weights_file import weights_location

Made = TypeVar("Made")


class HeldOut:
    """The items of `inputs`, without those of the split `train` and those of the tokenizer's training set.

    The training set is that of the tokenizer `vision`, as far as its table is known; items that share frames with it
    count as well. None: no item is in it.
    """

    def __init__(self, inputs: Sequence[str], access: AccessConfig, *, vision: str | None, command: str) -> None:
        """Raises ConfigError if there is no item."""
        self.uris = _uris(inputs, access)
        self.excluded: dict[str, str] = {}  # why, by URI
        self._access, self._command = access, command
        known = None if vision is None else _known(vision, command)
        self.training_set_known = known is not None
        self._trained_on = TrainingSet(known or ())

    def measured(self, decoder: Decoder, measure: Callable[[Path], Made]) -> dict[str, Made]:
        """Return what `measure` makes of each item, by URI; an item of which it raises InputError is excluded.

        Raises ConfigError if all items are excluded.
        """
        found: dict[str, Made] = {}
        for uri in self.uris:
            raise_if_stopping()
            try:
                with record_errors(uri), local_file(uri, access=self._access) as path:
                    if shared := self._trained_on.shared(signature_of(decoder, path)):
                        self.excluded[uri] = shared
                    else:
                        found[uri] = measure(path)
            except InputError as e:
                self.excluded[uri] = str(e)
            outcome = f"excluded: {self.excluded[uri]}" if uri in self.excluded else "measured"
            messages.info(f"{self._command}: {uri}: {outcome}")
        if not found:
            raise ConfigError(f"nothing to evaluate: {counted(len(self.uris), 'item')} given, all excluded")
        return found


def _known(vision: str, command: str) -> list[tuple[str, Signature]] | None:
    table = training_table(weights_location(vision))
    if table.stat():
        return read_training_table(table)
    messages.warning(f"{command}: no {table.name} next to the weights: items of the training set are not excluded")
    return None


def _uris(inputs: Sequence[str], access: AccessConfig) -> list[str]:
    items = read_valid_items(inputs, messages.info, access)
    uris = [item.uri for item in items if not kind_of(item.kind).is_text and item.split != "train"]
    if not uris:
        raise ConfigError(
            f"no video or image to evaluate in {', '.join(inputs)}; items of the split train are excluded"
        )
    return uris
