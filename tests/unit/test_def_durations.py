"""Durations, wherever they are written: what is none is refused where it stands, before anything is written."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from flowledger.core.backoff import Backoff, constant, exponential
from flowledger.core.patterns import linear
from flowledger.core.pauses import sleep
from flowledger.core.registry import Registry
from flowledger.core.retry import Deadline, Retry, Times, TryEach
from flowledger.core.signals import Signal
from flowledger.events.durations import LONGEST_S, seconds
from flowledger.events.errors import DefinitionError, NotReady

FOREVER = float("inf")
NONE: list[Any] = ["5", True, None, float("nan"), FOREVER, timedelta.max]
WRITTEN: dict[str, Callable[[Any], object]] = {
    "sleep": sleep,
    "signal": lambda value: Signal("go", int).wait(timeout=value),
    "Deadline": Deadline,
    "Times": lambda value: Times(2, backoff=value),
    "TryEach": lambda value: TryEach([1], backoff=value),
    "constant": constant,
    "exponential": exponential,
    "timeout": lambda value: Registry("app").task(timeout=value)(len),
    "deadline": lambda value: Registry("app").task(deadline=value)(len),
    "backoff": lambda value: Registry("app").task(backoff=value)(len),
}


@pytest.mark.parametrize("value", [each for each in NONE if each is not None], ids=repr)
@pytest.mark.parametrize("where", WRITTEN)
def test_what_is_no_duration_is_refused_where_it_is_written(where: str, value: Any) -> None:
    with pytest.raises(DefinitionError) as refused:
        WRITTEN[where](value)
    assert repr(value) in str(refused.value)
    assert refused.value.hint


@pytest.mark.parametrize("where", WRITTEN)
def test_a_negative_duration_is_refused_where_it_is_written(where: str) -> None:
    with pytest.raises(DefinitionError):
        WRITTEN[where](-1)


@pytest.mark.parametrize("value", NONE, ids=repr)
def test_d7_a_body_that_asks_for_a_wait_that_is_none_has_failed(value: Any) -> None:
    """It is told so in the body: an engine could not wait so long, nor a log write it down."""
    with pytest.raises(ValueError, match="is no duration"):
        NotReady(retry_after=value)


@pytest.mark.parametrize(
    "numbers", [{"factor": 0}, {"factor": -2.0}, {"jitter": -1}, {"jitter": float("nan")}, {"max": -1}], ids=repr
)
def test_a_back_off_with_numbers_that_make_no_sense_is_refused(numbers: dict[str, float]) -> None:
    with pytest.raises(DefinitionError):
        exponential(1, **numbers)


def test_a_back_off_that_grows_without_end_is_still_a_wait_that_ends() -> None:
    grown = exponential(1, factor=1000, max=FOREVER)
    assert grown.delay_s(200, random=0.5) == LONGEST_S
    assert Backoff(LONGEST_S, jitter=1.0).delay_s(1, random=0.9) == LONGEST_S


def test_durations_are_seconds_or_a_timedelta() -> None:
    assert (seconds(1), seconds(0.5), seconds(timedelta(minutes=1)), seconds(-2)) == (1.0, 0.5, 60.0, -2.0)


def test_a_retry_of_ones_own_has_a_back_off_or_none() -> None:
    class Patient(Retry[int]):
        backoff: Any = 3

    with pytest.raises(DefinitionError, match="backoff=3 of the retry is no back-off"):
        linear(retry=Patient())


@pytest.mark.parametrize("values", [5, "abc", b"abc"], ids=repr)
def test_what_is_no_list_of_values_is_nothing_to_try(values: Any) -> None:
    with pytest.raises(DefinitionError, match="is not a list of values"):
        TryEach(values)
