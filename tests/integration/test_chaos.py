"""Chaos, in short: all kinds of faults at once, and what the oracle says (`make chaos-short` does the same, longer)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.broker_servers import rabbitmq
from tests.chaos.chaos import unleash
from tests.chaos.rows import ROWS
from tests.chaos.world import FAKETIME
from tests.postgres_server import binaries

pytestmark = [pytest.mark.crash, pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.mark.skipif(binaries() is None or rabbitmq() is None, reason="needs Postgres' and RabbitMQ's programs")
def test_rel_all_faults_at_once_lose_double_and_strand_nothing(tmp_path: Path) -> None:
    # Given conductors, workers, Postgres, RabbitMQ, each in processes of their own, and runs under way
    faults = [fault for fault in ROWS["all"].faults if fault != "wrong-clock"]  # these have a course of their own
    course = replace(ROWS["all"].course(11), faults=faults, cycles=12, conductors=2, workers=2)
    # When a dozen of them are killed, stopped, cut off, deceived
    met = unleash(course, tmp_path, say=print)
    # Then
    print(met.summary())
    assert met.verdict.is_good, "\n".join(met.verdict.problems())
    assert met.verdict.runs > 20


@pytest.mark.skipif(binaries() is None or rabbitmq() is None or FAKETIME is None, reason="needs also faketime")
def test_rel_r9_processes_with_wrong_clocks_lose_double_and_strand_nothing(tmp_path: Path) -> None:
    # Given the same
    course = replace(ROWS["R9"].course(9), conductors=2, workers=2, in_flight=25, gap_s=0.5)
    # When six of the processes are followed by one that is an hour off, days back, or in 2038
    met = unleash(course, tmp_path, say=print)
    # Then
    print(met.summary())
    assert met.verdict.is_good, "\n".join(met.verdict.problems())
    assert met.verdict.runs > 20
