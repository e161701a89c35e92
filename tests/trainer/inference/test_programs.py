from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.support.training.decoding import counting_decoder, pages_for
from trainer.attention.paged import PageView
from trainer.inference import programs
from trainer.inference.programs import Steps, rounded_up
from trainer.inference.requests import Request, Sampling, StopConditions
from trainer.inference.row_states import no_rows
from trainer.inference.rows import Row, places, settings

pytestmark = pytest.mark.slow

DECODER = counting_decoder()
SLOTS = 3


def _row(last: int, *, slot: int, max_tokens: int = 9, **fields: Any) -> Row:
    request = Request(prompt=[last], max_tokens=max_tokens, sampling=Sampling(temperature=0), **fields)
    return Row(ticket=0, request=request, slot=slot, ids=np.asarray([last], np.int32), pages=[], run=0)


def _decoded(*rows: Row, limit: int = 6, allowed: Any = None) -> tuple[Any, Steps]:
    pages, tables = pages_for(DECODER, rows=SLOTS, length=16)
    start, asked = places(rows, slots=SLOTS), settings(rows, slots=SLOTS)
    state = no_rows(DECODER, None, count=SLOTS)
    options = {"grammar": None, "stride": 6, "top": 2}
    made = programs.decode(DECODER, pages, state, start, asked, tables, allowed, np.int32(limit), **options)
    return jax.tree.map(np.asarray, made[1:])


def test_rows_are_decoded_until_their_limit_or_a_stop_id_and_idle_ones_stay_as_they_are() -> None:
    stopping = _row(20, slot=2, stop=StopConditions(ids=(23,)))
    state, steps = _decoded(_row(3, slot=0, max_tokens=4), stopping)
    assert steps.ids.tolist() == [[4, 5, 6, 7, -1, -1], [-1] * 6, [21, 22, 23, -1, -1, -1]]
    assert [np.flatnonzero(row).tolist() for row in state.seen] == [[4, 5, 6, 7], [], [21, 22, 23]]
    assert steps.alternatives.ids[0, :4, 0].tolist() == [4, 5, 6, 7]
    assert np.all(steps.alternatives.logprobs[0, :4, 0] == steps.alternatives.chosen[0, :4])


def test_no_more_ids_are_decoded_than_the_limit_and_a_mask_allows() -> None:
    allowed = np.ones((SLOTS, 50), np.bool_)
    allowed[1, 8] = False
    _, steps = _decoded(_row(7, slot=1), limit=2, allowed=allowed)
    first, second = steps.ids[1, :2].tolist()
    assert first != 8
    assert second == first + 1
    assert np.all(steps.ids[1, 2:] == -1)


def test_a_block_is_scored_like_it_is_decoded() -> None:
    ids = np.asarray([[3, 4, 9, 49]], np.int32)
    pages, tables = pages_for(DECODER, rows=1, length=8)
    positions = np.arange(4, dtype=np.int32)[None]
    pages, scores = programs.score_block(DECODER, pages, tables, ids[:, :3], positions[:, :3], ids[:, 1:])
    hidden = DECODER.extend(pages, jnp.asarray(ids), PageView(tables, jnp.asarray(positions)))[1]
    shares = np.asarray(jax.nn.log_softmax(DECODER.logits(hidden[0]), axis=-1))
    np.testing.assert_allclose(scores[0], shares[np.arange(3), ids[0, 1:]], atol=1e-6)
    assert scores[0, 0] > scores[0, 1]


def test_pages_that_are_added_are_empty() -> None:
    pages, _ = pages_for(DECODER, rows=2, length=8)
    full = type(pages)(*(x + 1 for x in pages))
    longer = programs.with_pages(full, DECODER, per_device=5)
    assert np.asarray(longer.k[0, :, 0, 0, 0]).tolist() == [1, 1, 0, 0, 0]


@pytest.mark.parametrize(("number", "rounded"), [(1, 1), (2, 2), (3, 3), (4, 4), (5, 6), (7, 8), (9, 12), (13, 16)])
def test_sizes_are_rounded_up_to_powers_of_two_and_the_middles_between_them(number: int, rounded: int) -> None:
    assert rounded_up(number) == rounded


def test_arrays_are_put_on_the_device_of_a_decoder_without_a_mesh() -> None:
    made = programs.replicated({"x": np.ones(3)}, dataclasses.replace(DECODER))
    assert made["x"].devices() == {jax.local_devices()[0]}


def test_a_model_trained_by_modality_scores_an_id_among_those_of_its_modality() -> None:
    text = DECODER.text_size
    ids = np.asarray([[3, 4, text + 1]], np.int32)
    positions = np.arange(2, dtype=np.int32)[None]
    found = {}
    for softmax in ("joint", "by_modality"):
        decoder = counting_decoder(softmax=softmax)
        pages, tables = pages_for(decoder, rows=1, length=8)
        scores = programs.score_block(decoder, pages, tables, ids[:, :2], positions, ids[:, 1:])[1]
        found[softmax] = np.asarray(scores)[0]
    pages, tables = pages_for(DECODER, rows=1, length=8)
    hidden = DECODER.extend(pages, jnp.asarray(ids[:, :2]), PageView(tables, jnp.asarray(positions)))[1]
    logits = DECODER.logits(hidden[0])
    both, first, second = (jax.nn.log_softmax(x, axis=-1) for x in (logits, logits[:, :text], logits[:, text:]))
    np.testing.assert_allclose(found["joint"], [both[0, 4], both[1, text + 1]], rtol=1e-6)
    np.testing.assert_allclose(found["by_modality"], [first[0, 4], second[1, 1]], rtol=1e-6)
