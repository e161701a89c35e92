from __future__ import annotations

import numpy as np

from trainer.inference.programs import Steps
from trainer.inference.replies import joined, progress
from trainer.inference.requests import Completion, Progress, Request, StopConditions, TokenLogprob
from trainer.inference.rows import Row
from trainer.inference.sampling import Alternatives

CHOSEN = np.asarray([[-1.0, -2.0, -3.0], [-4.0, -5.0, -6.0]], np.float32)
OTHERS = np.arange(12, dtype=np.int32).reshape(2, 3, 2)
STEPS = Steps(
    np.asarray([[7, 8, -1], [4, 5, 6]], np.int32),  # type: ignore[arg-type]
    Alternatives(CHOSEN, OTHERS, -OTHERS.astype(np.float32)),  # type: ignore[arg-type]
)


def _row(slot: int, *, max_tokens: int = 9, stop: StopConditions | None = None, logprobs: int | None = None) -> Row:
    request = Request(prompt=[1, 2], max_tokens=max_tokens, stop=stop or StopConditions(), logprobs=logprobs)
    return Row(ticket=50 + slot, request=request, slot=slot, ids=np.asarray([1, 2], np.int32), pages=[], run=1)


def test_a_row_takes_its_ids_up_to_the_first_that_is_none() -> None:
    row = _row(0)
    assert progress(row, STEPS) == Progress(ticket=50, ids=(7, 8))
    assert row.all_ids.tolist() == [1, 2, 7, 8]


def test_log_probabilities_are_given_with_as_many_alternatives_as_were_asked_for() -> None:
    best = (TokenLogprob(id=7, logprob=-1, alternatives=((0, -0.0),)), TokenLogprob(id=8, logprob=-2))
    made = progress(_row(0, logprobs=1), STEPS)
    assert made.logprobs == (best[0], TokenLogprob(id=8, logprob=-2, alternatives=((2, -2.0),)))
    assert progress(_row(0, logprobs=0), STEPS).logprobs == (TokenLogprob(id=7, logprob=-1), best[1])


def test_ids_after_a_stop_id_are_no_part_of_the_reply() -> None:
    row = _row(1, stop=StopConditions(ids=(5,)), logprobs=0)
    made = progress(row, STEPS)
    assert (made.ids, made.finished, made.stopped_by) == ((4,), "stop", 5)
    assert made.logprobs == (TokenLogprob(id=4, logprob=-4),)
    assert row.all_ids.tolist() == [1, 2, 4]


def test_the_parts_of_a_reply_are_joined() -> None:
    row = _row(1, max_tokens=6, logprobs=2)
    parts = [progress(row, STEPS), progress(row, STEPS)]
    whole = joined(parts)
    assert (whole.ids, whole.finished, whole.stopped_by) == ((4, 5, 6, 4, 5, 6), "length", None)
    assert whole.logprobs == parts[0].logprobs + parts[1].logprobs


def test_a_reply_whose_last_part_does_not_end_it_was_cancelled() -> None:
    assert joined([Progress(ticket=0, ids=(3,))]) == Completion(
        ids=(3,), finished="cancelled", stopped_by=None, logprobs=()
    )
