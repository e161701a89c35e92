"""The loss on packed sequences is the loss on the same documents, unpacked and padded.

A token store is packed, the sequences are read back with nothing but tarfile and numpy, and their spans expanded. What
predicts is a small model in float64 whose logits depend on a token, its position, and all tokens of its segment up to
it, so that a leak between documents or a position that does not restart shows in the loss.

Axes: B rows, S tokens of a row, V vocabulary.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.packing.config import PackConfig
from schemas.packed import expand
from tests.support.packing.local_packing import pack_documents
from tests.support.token_stores import VOCABULARY, StoredDocument, book, image, qa, video
from trainer.config import MeshConfig
from trainer.mesh import make_mesh
from trainer.model.llama.config import debug
from trainer.model.loss import batch_sums
from trainer.model.registry import create

pytestmark = pytest.mark.slow

CONTEXT = 64
Floats = NDArray[np.float64]


def clip(name: str, length: int) -> StoredDocument:
    """Return a video of one run of frames and `length` tokens."""
    frames = (length - 4) // 5
    return video(name, [frames], cue=length - 3 - 5 * frames)


# Of lengths that fill the sequences exactly: there is no gap, so that no book is cut to fill it.
WHOLE = [
    *(clip(f"clip {length}", length) for length in (48, 40, 32, 24)),
    video("talk", [3, 4], cue=12),  # 64
    image("picture", caption=8),  # 16
    qa("one answer", [(9, 13)], context=10),  # 32
    qa("three answers", [(3, 2), (5, 7), (4, 1)], context=20),  # 42
    qa("short", [(4, 8)], context=10),  # 22
    *(book(f"book {i}", 32) for i in range(4)),
]
# Of any length: books are cut to fill gaps, and what is longer than the context everywhere.
CUT = [
    *(book(f"long book {i}", 150 + 13 * i) for i in range(3)),
    *(clip(f"long clip {i}", 90 + 31 * i) for i in range(3)),
    *WHOLE[:3],
]


class Rows(NamedTuple):
    """Rows [B, S]; `weights` are those of the tokens as targets."""

    tokens: NDArray[np.int64]
    segment_ids: NDArray[np.int64]
    positions: NDArray[np.int64]
    weights: Floats


class Chunk(NamedTuple):
    """Tokens [start, start + length) of a document."""

    document: StoredDocument
    start: int
    length: int


def pack(root: Path, documents: Sequence[StoredDocument], config: PackConfig) -> Path:
    return pack_documents(root, documents, config, context=CONTEXT)


def read_packed(directory: Path, documents: Sequence[StoredDocument]) -> tuple[Rows, list[Chunk]]:
    """Return the packed sequences as rows, and the chunks in them."""
    by_id, rows, chunks = {d.id: d for d in documents}, [], []
    for path in sorted(directory.glob("*.tar")):
        with tarfile.open(path) as tar:
            data = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
        for key in sorted({name.split(".")[0] for name in data}):
            tokens, spans = (np.load(io.BytesIO(data[f"{key}.{part}.npy"])) for part in ("tokens", "spans"))
            inputs = expand(spans, len(tokens))
            rows.append((tokens, inputs.segment_ids, inputs.positions, inputs.weights))
            listing = json.loads(data[f"{key}.json"])["documents"]
            chunks += [Chunk(by_id[p["id"]], p["start"], p["length"]) for p in listing]
    return Rows(*(np.stack(column) for column in zip(*rows, strict=True))), chunks


def unpacked(chunks: Sequence[Chunk]) -> Rows:
    """Return one chunk a row, padded; weights as the documents say, 0 for the first token, which nothing predicts."""
    length = max(chunk.length for chunk in chunks)
    rows = Rows(*(np.zeros((len(chunks), length), dtype) for dtype in (np.int64, np.int64, np.int64, np.float64)))
    for i, (document, start, n) in enumerate(chunks):
        rows.tokens[i, :n] = document.tokens[start : start + n]
        rows.segment_ids[i, :n], rows.positions[i, :n] = 1, np.arange(n)
        rows.weights[i, 1:n] = said_weights(document)[start + 1 : start + n]
    return rows


def said_weights(document: StoredDocument) -> Floats:
    """Return the weight of every token as a target, as the document has it."""
    weights = document.weights or [1.0] * len(document.runs)
    return np.concatenate([np.full(len(run[1]), w) for run, w in zip(document.runs, weights, strict=True)])


def whole(documents: Sequence[StoredDocument]) -> list[Chunk]:
    return [Chunk(d, 0, len(d.tokens)) for d in documents]


def cross_entropy(rows: Rows, *, dim: int = 8) -> Floats:
    """Return the cross-entropy [B, S-1] of every next token, in float64."""
    rng = np.random.default_rng(7)
    of_token, of_past, of_position, head = (
        rng.normal(size=(n, dim)) for n in (VOCABULARY.size, VOCABULARY.size, 1024, VOCABULARY.size)
    )
    length = rows.tokens.shape[1]
    past = (rows.segment_ids[:, :, None] == rows.segment_ids[:, None, :]) & np.tri(length, dtype=bool)
    hidden = of_token[rows.tokens] + of_position[rows.positions] + 0.3 * past @ of_past[rows.tokens]
    logits = np.tanh(hidden) @ head.T
    log_normalizer = np.log(np.exp(logits).sum(-1))
    targets = np.take_along_axis(logits[:, :-1], rows.tokens[:, 1:, None], axis=-1)[..., 0]
    return log_normalizer[:, :-1] - targets


def loss(rows: Rows) -> float:
    """Return Σ w·ce / Σ w over the whole batch, as a trainer computes it."""
    weights = rows.weights[:, 1:].astype(np.float64)
    return float((weights * cross_entropy(rows)).sum() / weights.sum())


def weighted(chunks: Sequence[Chunk], config: PackConfig) -> Rows:
    """Return the chunks unpacked and padded, with the weights that the configuration asks for.

    `document`: the targets of a document, in all its rows, sum up to 1. Modalities are multiplied in after that.
    """
    rows = unpacked(chunks)
    weights = rows.weights
    if config.loss_weighting == "document":
        _, owner = np.unique([chunk.document.id for chunk in chunks], return_inverse=True)
        weights = weights / np.bincount(owner, weights.sum(1))[owner, None]
    vision = VOCABULARY.is_vision(rows.tokens)
    return rows._replace(weights=weights * np.where(vision, config.vision_weight, config.text_weight))


TOKEN, DOCUMENT = PackConfig(loss_weighting="token"), PackConfig(loss_weighting="document")
FACTORS = [(1.0, 1.0), (3.0, 0.5), (0.0, 1.0)]


@pytest.mark.parametrize("factors", FACTORS)
@pytest.mark.parametrize("config", [TOKEN, DOCUMENT], ids=["token", "document"])
def test_packed_documents_lose_what_they_lose_unpacked_and_padded(
    tmp_path: Path, config: PackConfig, factors: tuple[float, float]
) -> None:
    config = replace(config, text_weight=factors[0], vision_weight=factors[1])
    rows, chunks = read_packed(pack(tmp_path, WHOLE, config), WHOLE)
    assert sorted(chunks, key=lambda p: p.document.id) == sorted(whole(WHOLE), key=lambda p: p.document.id)
    assert len(rows.tokens) < len(WHOLE)
    assert loss(rows) == pytest.approx(loss(weighted(whole(WHOLE), config)), rel=1e-6)


def test_document_weighting_is_the_mean_over_documents_of_the_mean_over_what_each_teaches(tmp_path: Path) -> None:
    rows, _ = read_packed(pack(tmp_path, WHOLE, DOCUMENT), WHOLE)
    alone = unpacked(whole(WHOLE))
    means = [np.average(ce, weights=w) for ce, w in zip(cross_entropy(alone), alone.weights[:, 1:], strict=True)]
    assert loss(rows) == pytest.approx(np.mean(means), rel=1e-6)


def test_token_weighting_is_the_mean_over_all_that_is_taught(tmp_path: Path) -> None:
    rows, _ = read_packed(pack(tmp_path, WHOLE, TOKEN), WHOLE)
    alone = unpacked(whole(WHOLE))
    taught = cross_entropy(alone)[alone.weights[:, 1:] > 0]
    assert len(taught) == sum(len(d.tokens) - 1 for d in WHOLE if d.kind != "qa") + 13 + 2 + 7 + 1 + 8  # answers
    assert loss(rows) == pytest.approx(taught.mean(), rel=1e-6)


def _leaking(rows: Rows) -> Rows:
    return rows._replace(segment_ids=np.minimum(rows.segment_ids, 1))


def _not_restarting(rows: Rows) -> Rows:
    return rows._replace(positions=np.broadcast_to(np.arange(CONTEXT), rows.positions.shape))


def _with_questions(rows: Rows) -> Rows:
    return rows._replace(weights=(rows.segment_ids > 0) & (rows.positions > 0))


def _predicting_the_first(rows: Rows) -> Rows:
    return rows._replace(weights=np.where((rows.positions == 0) & (rows.segment_ids > 0), 1, rows.weights))


@pytest.mark.parametrize("spoil", [_leaking, _not_restarting, _with_questions, _predicting_the_first])
def test_each_mistake_of_packing_would_show(tmp_path: Path, spoil: Callable[[Rows], Rows]) -> None:
    rows, _ = read_packed(pack(tmp_path, WHOLE, TOKEN), WHOLE)
    assert abs(loss(spoil(rows)) / loss(rows) - 1) > 1e-5  # the tests above see a tenth of it


@pytest.mark.parametrize("config", [TOKEN, DOCUMENT], ids=["token", "document"])
def test_chunks_of_a_cut_document_lose_what_they_lose_as_rows_of_their_own(tmp_path: Path, config: PackConfig) -> None:
    """What is left of each context behind a cut is gone, and the first token of each further chunk is no target."""
    config = replace(config, vision_weight=0.5)
    rows, chunks = read_packed(pack(tmp_path, CUT, config), CUT)
    assert {chunk.document.kind for chunk in chunks if chunk.start} == {"book", "video"}
    assert loss(rows) == pytest.approx(loss(weighted(chunks, config)), rel=1e-6)
    lost = [said_weights(chunk.document)[chunk.start] for chunk in chunks if chunk.start]
    targets = np.count_nonzero(unpacked(whole(CUT)).weights)
    assert np.count_nonzero(rows.weights) == targets - np.count_nonzero(lost)
    assert abs(loss(rows) / loss(weighted(whole(CUT), config)) - 1) > 1e-4


def test_the_trainers_model_and_loss_agree(tmp_path: Path) -> None:
    rows, _ = read_packed(pack(tmp_path, WHOLE, TOKEN), WHOLE)
    mesh = make_mesh(MeshConfig(sequence=1), devices=jax.devices()[:1])
    model = create(debug(), text_size=VOCABULARY.text_size, vision_size=VOCABULARY.vision_size, mesh=mesh, seed=5)
    losses = [float(compiled_loss(model, batch_of(some, len(WHOLE)))) for some in (rows, unpacked(whole(WHOLE)))]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert abs(float(compiled_loss(model, batch_of(_leaking(rows), len(WHOLE)))) / losses[1] - 1) > 1e-4


compiled_loss = jax.jit(lambda model, batch: batch_sums(model, batch).mean)


def batch_of(rows: Rows, count: int) -> dict[str, jax.Array]:
    """Return `count` rows of CONTEXT tokens as the trainer takes them: targets and their weights are shifted."""

    def fill(values: NDArray[Any], dtype: Any) -> jax.Array:
        whole = np.zeros((count, CONTEXT), dtype)
        whole[: len(values), : values.shape[1]] = values
        return jnp.asarray(whole)

    return {
        "tokens": fill(rows.tokens, np.int32),
        "targets": fill(rows.tokens[:, 1:], np.int32),
        "weights": fill(rows.weights[:, 1:], np.float32),
        "segment_ids": fill(rows.segment_ids, np.int32),
        "positions": fill(rows.positions, np.int32),
    }
