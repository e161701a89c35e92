from __future__ import annotations

import numpy as np

from tests.support.training.decoding import counting_decoder
from trainer.inference.cache import Cache

IDS = np.arange(40, dtype=np.int32)


def _cache(*, most_tokens: int | None = None) -> Cache:
    return Cache(counting_decoder(), page=8, dtype="bfloat16", most_tokens=most_tokens, most_kept=2)


def test_a_cache_without_a_limit_grows_with_its_rows_and_keeps_what_its_pages_hold() -> None:
    cache = _cache()
    assert cache.nbytes == 0
    assert cache.reserve(IDS[:9], tokens=17) == ([0, 1, 2], 0)
    assert (cache.pages.k.shape, cache.pages.k.dtype) == ((1, 3, 1, 8, 2), "uint16")  # the bits of bfloat16
    cache.pages = type(cache.pages)(*(x.at[:].set(5) for x in cache.pages))
    assert cache.reserve(IDS[:9], tokens=20) == ([3, 4, 5], 0)
    assert (np.asarray(cache.pages.v[0, :, 0, 0, 0]) == [5, 5, 5, 0, 0, 0]).all()
    assert cache.nbytes == 2 * 6 * 8 * 2 * 2


def test_a_cache_with_a_limit_takes_all_its_room_at_once_and_no_more() -> None:
    cache = _cache(most_tokens=30)
    assert cache.reserve(IDS[:9], tokens=17) == ([0, 1, 2], 0)
    assert cache.pages.k.shape[1] == 4
    assert cache.reserve(IDS[:9], tokens=9) is None
    assert cache.reserve(IDS[:5], tokens=8) == ([3], 0)


def test_a_row_begins_with_the_kept_pages_of_one_that_began_alike() -> None:
    cache = _cache(most_tokens=64)
    first = cache.reserve(IDS[:20], tokens=24)
    cache.pool.keep(IDS[:20], first.pages)
    assert cache.reserve(IDS[:18], tokens=32) == (first.pages[:2] + cache.pool.longest_common(IDS[:0]) + [2, 3], 16)
    # A request that does not fit holds nothing back.
    assert cache.reserve(IDS[:18], tokens=80) is None
    assert cache.reserve(IDS[30:], tokens=32) is not None
