"""Random flows with random failures: the engine must do what the reference model does (D1 to D6, E1, C5).

A few hundred of each kind in every test run; `FLOWLEDGER_EXAMPLES=5000 pytest tests/properties` for a night.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, given, settings

from tests.properties.model import predict
from tests.properties.running import (
    assert_bodies_did_what_the_model_did,
    assert_bodies_kept_the_order,
    assert_ended_alike,
    follow,
    run,
)
from tests.properties.spec import Spec
from tests.properties.strategies import specs

EXAMPLES = int(os.environ.get("FLOWLEDGER_EXAMPLES", "0"))

pytestmark = pytest.mark.timeout(60 + EXAMPLES)


def examples(usual: int) -> settings:
    return settings(
        max_examples=EXAMPLES or usual,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
        report_multiple_bugs=False,
    )


@examples(250)
@given(specs(late=True))
def test_d8_inline_does_exactly_what_the_model_predicts(spec: Spec) -> None:
    # Given what the rules say must happen when one thing is done at a time, the first in plan order
    expected = predict(spec)

    # When the flow runs that way
    ran = run(spec, "inline")

    # Then every body was called as predicted, in that order, and the end is the same
    assert ran.recorder.calls() == expected.calls
    assert_ended_alike(ran, expected)
    follow(ran)


@examples(120)
@given(specs(polls=True, late=True))
def test_d8_whatever_the_schedule_each_event_is_one_the_model_allows(spec: Spec) -> None:
    # When a flow with polls runs with its bodies in threads
    ran = run(spec, "threads")

    # Then each event was enabled, nothing is left, and the bodies did what the log says
    model = follow(ran)
    assert_bodies_did_what_the_model_did(ran, model)
    assert_bodies_kept_the_order(ran, model)
    assert_ended_alike(ran, model)


@examples(80)
@given(specs(polls=True, late=True))
def test_d8_polls_one_at_a_time(spec: Spec) -> None:
    # When a flow with polls runs one body at a time
    ran = run(spec, "inline")

    # Then the same holds
    model = follow(ran)
    assert_bodies_did_what_the_model_did(ran, model)
    assert_bodies_kept_the_order(ran, model)
    assert_ended_alike(ran, model)
