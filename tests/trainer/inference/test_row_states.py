from __future__ import annotations

import numpy as np

from tests.support.training.decoding import counting_decoder
from tests.support.training.packed_sequences import VOCABULARY
from trainer.inference.requests import FrameLimits, Request
from trainer.inference.row_states import no_rows, with_row
from trainer.inference.rows import Row
from trainer.model.grammar import DocumentGrammar

DECODER = counting_decoder()
GRAMMAR = DocumentGrammar(vocabulary=VOCABULARY, frame_tokens=4)
VIDEO = np.asarray([VOCABULARY.bos_id, *VOCABULARY.begin_vision], np.int32)


def _row(ids: np.ndarray, *, slot: int, frames: FrameLimits | None = None) -> Row:
    request = Request(prompt=ids, max_tokens=1, frames=frames)
    return Row(ticket=0, request=request, slot=slot, ids=ids, pages=[], run=0)


def test_a_new_row_replaces_what_its_slot_had_seen_and_no_other() -> None:
    state = no_rows(DECODER, None, count=3)
    for slot, ids in ((2, [4, 5]), (1, [7, 7, 8]), (2, [9])):
        state = with_row(state, _row(np.asarray(ids, np.int32), slot=slot), DECODER, None)
    assert state.grammar is None
    assert [np.flatnonzero(seen).tolist() for seen in np.asarray(state.seen)] == [[], [7, 8], [9]]


def test_the_grammar_of_a_row_stands_after_its_prompt_with_the_limits_of_its_request() -> None:
    state = no_rows(DECODER, GRAMMAR, count=2)
    state = with_row(state, _row(VIDEO, slot=1, frames=FrameLimits(least=1, most=3)), DECODER, GRAMMAR)
    assert np.asarray(state.grammar.inside).tolist() == [False, True]
    assert np.asarray(state.grammar.least).tolist() == [0, 1]
    assert np.asarray(state.grammar.most).tolist() == [0, 3]
