"""Replies, put together from what the compiled program returns."""

from __future__ import annotations

from collections.abc import Sequence

from trainer.inference.programs import Steps
from trainer.inference.requests import Completion, FinishReason, Progress, TokenLogprob
from trainer.inference.rows import Row
from trainer.inference.stopping import ending


def progress(row: Row, steps: Steps) -> Progress:
    """Append the ids that a row generated, up to its end, and return them. Arrays of `steps` are on the host."""
    new = [int(token) for token in steps.ids[row.slot] if token >= 0]
    ids, finished, by = ending(row.new, new, row.request.stop, remaining=row.remaining)
    row.append(ids)
    found = _logprobs(steps, row, ids)
    return Progress(ticket=row.ticket, ids=tuple(ids), logprobs=found, finished=finished, stopped_by=by)


def joined(parts: Sequence[Progress]) -> Completion:
    """Return the reply whose parts these are."""
    last = parts[-1]
    finished: FinishReason = last.finished or "cancelled"
    ids = tuple(token for part in parts for token in part.ids)
    found = tuple(one for part in parts for one in part.logprobs)
    return Completion(ids=ids, finished=finished, stopped_by=last.stopped_by, logprobs=found)


def _logprobs(steps: Steps, row: Row, ids: Sequence[int]) -> tuple[TokenLogprob, ...]:
    if steps.alternatives is None or row.request.logprobs is None:
        return ()
    chosen, others, values = (x[row.slot] for x in steps.alternatives)
    count = row.request.logprobs

    def one(n: int, token: int) -> TokenLogprob:
        pairs = zip(others[n, :count].tolist(), values[n, :count].tolist(), strict=True)
        return TokenLogprob(id=token, logprob=float(chosen[n]), alternatives=tuple(pairs))

    return tuple(one(n, token) for n, token in enumerate(ids))
