from __future__ import annotations

from trainer.inference.speed import Speed


def test_sums_are_shown_with_their_rates() -> None:
    speed = Speed(reused_tokens=64, cache_bytes=2_500_000)
    speed.add_prompt(100, 0.5)
    speed.add_prompt(50, 0.25)
    speed.add_generated(30, 2.0)
    assert str(speed) == (
        "prompt: 150 tokens, 200.0 tokens/s, 64 tokens reused; generated: 30 tokens, 15.0 tokens/s; cache: 2.5 MB"
    )


def test_an_engine_that_did_nothing_has_no_rates() -> None:
    assert str(Speed()) == "prompt: 0 tokens, 0 tokens reused; generated: 0 tokens; cache: 0.0 MB"
