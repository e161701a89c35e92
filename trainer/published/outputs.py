"""The tensors of an export, made from the arrays of a checkpoint block by block."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.errors import ConfigError
from schemas.vocab import Vocabulary
from trainer.model.llama.config import LlamaConfig
from trainer.published import names
from trainer.published.files.writers import Output
from trainer.published.import_vocabulary import LWM_SPARE
from trainer.published.layout import Layout
from trainer.published.plan import table_shapes
from trainer.run.arrays import ArrayReader

_MODALITIES = ((names.TEXT_EMBEDDING, names.VISION_EMBEDDING), (names.TEXT_HEAD, names.VISION_HEAD))


class Tables:
    """The shapes of a model's parameters."""

    def __init__(self, model: LlamaConfig, vocabulary: Vocabulary) -> None:
        self.model, self.vocabulary = model, vocabulary
        sizes = {"text_size": vocabulary.text_size, "vision_size": vocabulary.vision_size}
        self.shapes = table_shapes(model, **sizes)

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        layer = sum(math.prod(layout.shape) for _, layout in names.HUGGING_FACE.of_layer(self.model, 0).values())
        return self.model.layers * layer + sum(map(math.prod, self.shapes.values()))


def joint_outputs(arrays: ArrayReader, tables: Tables, naming: names.Naming) -> list[Output]:
    """Return the tensors of a format that knows one vocabulary: vision ids follow the text ids."""
    model = tables.model
    outputs = []
    for text, vision in _MODALITIES:
        shapes = {name: tables.shapes[name] for name in (text, vision) if name in tables.shapes}
        if shapes:
            parts = [(name, None, naming.of_table(text, shape)[1]) for name, shape in shapes.items()]
            joint = (sum(shape[0] for shape in shapes.values()), model.dim)
            outputs.append(_output(naming.tables[text], joint, arrays, parts))
    published, layout = naming.of_table(names.FINAL_NORM, tables.shapes[names.FINAL_NORM])
    outputs.append(_output(published, layout.published, arrays, [(names.FINAL_NORM, None, layout)]))
    for name in naming.of_layer(model, 0):  # array by array, as the reader expects
        for i in range(model.layers):
            published, layout = naming.of_layer(model, i)[name]
            outputs.append(_output(published, layout.published, arrays, [(name, i, layout)]))
    return outputs


def lwm_outputs(arrays: ArrayReader, tables: Tables, *, scan: bool) -> list[Output]:
    """Return LWM's tensors; `scan`: layers are stacked. Raises ConfigError for a model that LWM's code lacks."""
    naming, model = names.LWM, tables.model
    _require_lwm(model)
    outputs = []
    for name, shape in tables.shapes.items():
        published, layout = naming.of_table(name, shape)
        spare = -shape[0] % LWM_SPARE if name in (names.VISION_EMBEDDING, names.VISION_HEAD) else 0
        outputs.append(_with_spare(_output(published, layout.published, arrays, [(name, None, layout)]), layout, spare))
    for name in naming.of_layer(model, 0):
        layers = [naming.of_layer(model, i)[name] for i in range(model.layers)]
        if scan:
            published = layers[0][0].replace("/h/0/", "/h/scan_decoder/")
            parts = [(name, i, layout) for i, (_, layout) in enumerate(layers)]
            outputs.append(_output(published, (model.layers, *layers[0][1].published), arrays, parts))
        else:
            for i, (published, layout) in enumerate(layers):
                outputs.append(_output(published, layout.published, arrays, [(name, i, layout)]))
    return outputs


def _require_lwm(model: LlamaConfig) -> None:
    wrong = {
        "kv_heads": model.kv_heads != model.heads,
        "head_dim": model.head_dim * model.heads != model.dim,
        "tied_heads": model.tied_heads,
        "qkv_bias": model.qkv_bias,
        "qk_norm": model.qk_norm,
        "rope_scaling": model.rope_scaling is not None,
    }
    if found := [f"{name} = {getattr(model, name)}" for name, is_wrong in wrong.items() if is_wrong]:
        raise ConfigError(f"LWM's code cannot express a model with {', '.join(found)}: export it with --format hf")


def _output(
    name: str, shape: tuple[int, ...], arrays: ArrayReader, parts: Sequence[tuple[str, int | None, Layout]]
) -> Output:
    return Output(name=name, shape=shape, blocks=partial(_blocks, arrays, parts))


def _blocks(arrays: ArrayReader, parts: Sequence[tuple[str, int | None, Layout]]) -> Iterator[NDArray[Any]]:
    """Yield published rows of arrays, or of layers of them, one after another."""
    for name, layer, layout in parts:
        for start, stop in layout.blocks(layout.step):
            region = layout.region(start, stop)
            yield layout.to_rows(arrays.read(name, region if layer is None else (layer, *region)))


def _with_spare(output: Output, layout: Layout, spare: int) -> Output:
    """Add ids that are never used, with values of 0, to a table, as LWM's have them."""
    if not spare:
        return output
    rows, columns = output.shape
    if not layout.transposed:

        def longer() -> Iterator[NDArray[Any]]:
            yield from output.blocks()
            yield np.zeros((spare, columns), np.float32)

        return Output(name=output.name, shape=(rows + spare, columns), blocks=longer)

    def wider() -> Iterator[NDArray[Any]]:
        for block in output.blocks():
            yield np.pad(block, [(0, 0), (0, spare)])

    return Output(name=output.name, shape=(rows, columns + spare), blocks=wider)
