from __future__ import annotations

import time

import jax
import jax.numpy as jnp

from trainer.inference.speed import Moment, Speed


def _ago(seconds: float) -> Moment:
    now = Moment.now()
    return Moment(now.clock - seconds, now.compilation)


def test_sums_are_shown_with_their_rates() -> None:
    speed = Speed(reused_tokens=64, cache_bytes=2_500_000)
    speed.add_prompt(1000, _ago(500))
    speed.add_prompt(500, _ago(250))
    speed.add_generated(300, _ago(1000))
    assert str(speed) == (
        "prompt: 1,500 tokens, 2.0 tokens/s, 64 tokens reused; generated: 300 tokens, 0.3 tokens/s; "
        "compilation: 0.0 s; cache: 2.5 MB"
    )


def test_an_engine_that_did_nothing_has_no_rates() -> None:
    assert str(Speed()) == ("prompt: 0 tokens, 0 tokens reused; generated: 0 tokens; compilation: 0.0 s; cache: 0.0 MB")


def test_compilation_is_counted_for_itself() -> None:
    speed, started = Speed(), Moment.now()
    jax.jit(lambda x: x * 3 + 1)(jnp.ones(5)).block_until_ready()
    speed.add_prompt(5, started)
    assert speed.compilation_s > 0
    assert 0 < speed.prompt_s <= time.perf_counter() - started.clock - speed.compilation_s
