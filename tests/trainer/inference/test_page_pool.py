from __future__ import annotations

import numpy as np
import pytest

from trainer.inference.page_pool import Ids, PagePool, common_prefix


def _ids(*values: int) -> Ids:
    return np.asarray(values, np.int32)


def _pool(*, devices: int = 2, per_device: int = 4, most_kept: int = 8) -> PagePool:
    pool = PagePool(devices=devices, page=2, most_kept=most_kept)
    pool.add_pages(per_device)
    return pool


def test_pages_of_a_row_go_around_the_devices() -> None:
    pool, pages = _pool(), list[int]()
    assert pool.extend(pages, 9)
    assert pages == [0, 0, 1, 1, 2]
    assert pool.table([pages, []]).tolist() == [[[0, 1, 2, 0], [0] * 4], [[0, 1, 0, 0], [0] * 4]]


def test_a_row_that_does_not_fit_takes_nothing() -> None:
    pool, pages, more = _pool(), list[int](), list[int]()
    assert pool.extend(pages, 10)
    assert pool.missing(0, 4) == 1
    assert not pool.extend(more, 8)
    assert more == []
    pool.release(pages)
    assert pool.extend(more, 8)


def test_whole_pages_of_finished_rows_are_shared() -> None:
    pool, pages = _pool(), list[int]()
    assert pool.extend(pages, 6)
    pool.keep(_ids(1, 2, 3, 4, 5), pages)
    assert pool.longest_common(_ids(1, 2, 3, 4, 5, 6)) == pages[:2]
    assert pool.longest_common(_ids(1, 2, 3, 9)) == pages[:1]
    assert pool.longest_common(_ids(1, 9)) == []


def test_kept_rows_give_way_the_least_recently_used_first() -> None:
    pool = _pool(devices=1, per_device=4)
    for first in (1, 2):
        pages = list[int]()
        assert pool.extend(pages, 4)
        pool.keep(_ids(first, 0, 0, 0), pages)
    pool.release(pool.longest_common(_ids(1, 0)))
    new = list[int]()
    assert pool.extend(new, 2)
    assert pool.longest_common(_ids(2, 0)) == []
    assert len(pool.longest_common(_ids(1, 0, 0, 0))) == 2


def test_shared_pages_are_free_when_the_last_row_has_left() -> None:
    pool, pages = _pool(devices=1, per_device=2), list[int]()
    assert pool.extend(pages, 4)
    pool.keep(_ids(1, 2, 3, 4), pages)
    shared = pool.longest_common(_ids(1, 2, 3, 4))
    assert not pool.extend([], 2)  # forgets the kept row, but its pages are in use
    pool.release(shared)
    assert pool.extend([], 4)


def test_at_most_so_many_rows_are_kept_and_none_twice() -> None:
    pool = _pool(devices=1, per_device=8, most_kept=2)
    for ids in (_ids(1, 1), _ids(1, 1, 2, 2), _ids(3, 3), _ids(4, 4)):
        pages = list[int]()
        assert pool.extend(pages, len(ids))
        pool.keep(ids, pages)
    assert pool.missing(0, 6) == 0  # the two newest take two pages
    assert pool.longest_common(_ids(1, 1)) == []


@pytest.mark.parametrize(
    ("a", "b", "common"), [((), (1,), 0), ((1, 2), (1, 2, 3), 2), ((1, 2), (1, 3), 1), ((2,), (1,), 0)]
)
def test_common_prefixes_are_counted(a: tuple[int, ...], b: tuple[int, ...], common: int) -> None:
    assert common_prefix(_ids(*a), _ids(*b)) == common
