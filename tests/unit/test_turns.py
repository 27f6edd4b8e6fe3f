"""Who writes to a file next: whoever has waited longest."""

from __future__ import annotations

from functools import partial
from threading import Thread

import pytest

from flowledger.adapters.stores.turns import Turns
from tests.postgres_server import wait_until


def waits(turns: Turns, many: int) -> bool:
    return len(turns._waiting) == many


def test_turns_come_in_the_order_in_which_they_were_asked_for() -> None:
    # Given some who wait while one has it
    turns, order = Turns(), list[int]()

    def take(number: int) -> None:
        with turns:
            order.append(number)

    threads = [Thread(target=take, args=(number,)) for number in range(5)]
    with turns:
        for number, thread in enumerate(threads):
            thread.start()
            wait_until(partial(waits, turns, number + 1), "nobody waits")
        # When it is let go, and wanted again at once
    with turns:
        order.append(99)
    for thread in threads:
        thread.join()
    # Then whoever asks last is last
    assert order == [0, 1, 2, 3, 4, 99]


def test_a_turn_that_ends_in_an_error_is_over() -> None:
    turns = Turns()
    with pytest.raises(LookupError), turns:
        raise LookupError
    with turns:
        assert turns._taken
    assert not turns._taken
