"""How a job stands, and why, in words for operators (B1, B3)."""

from __future__ import annotations

from typing import Any

import pytest

from flowledger.adapters.jobs import Standing, judged
from flowledger.events.board import Conductor, Job, Note

NOW_US = 1_000_000_000


def job(**fields: Any) -> Job:
    plain: dict[str, Any] = {
        "run_id": "R", "app": "shop", "factory": "order", "key": None, "queue": "default", "priority": 0,
        "status": "PENDING", "wake_at_us": None, "owner": None, "host": None, "pid": None, "seen_s": None, "epoch": 0,
        "created_us": 0, "note": None,
    }  # fmt: skip
    return Job(**{**plain, **fields})


def conductor(**fields: Any) -> Conductor:
    plain: dict[str, Any] = {
        "owner": "C", "host": "h", "pid": 1, "app": "shop", "factories": ("order",), "queues": ("default",), "runs": 0,
        "max_runs": 9, "draining": False, "seen_s": 1.0,
    }  # fmt: skip
    return Conductor(**{**plain, **fields})


def note(remark: Any) -> Note:
    return Note(run_id="R", remark=remark, reason="because", actor="ada@h", at_us=0, times=3)


@pytest.mark.parametrize(
    ("fields", "standing", "why"),
    [
        ({}, "READY", "1 conductor could"),
        ({"owner": "C", "seen_s": 1.0, "pid": 7, "host": "h"}, "OWNED", "process 7 on h"),
        ({"owner": "C", "seen_s": None}, "ORPHANED", "gone"),
        ({"owner": "C", "seen_s": 60.0}, "ORPHANED", "gone"),
        ({"wake_at_us": NOW_US + 5_000_000}, "WAITING", "5 s"),
        ({"wake_at_us": NOW_US - 1}, "READY", "1 conductor could"),
        ({"status": "SUSPENDED"}, "SUSPENDED", "resume"),
        ({"status": "FAILED", "note": note("released")}, "OVER", "FAILED"),
        ({"factory": "refund"}, "UNSERVED", "shop/refund"),
        ({"queue": "other"}, "UNSERVED", "queue other"),
        ({"app": "bank"}, "UNSERVED", "bank/order"),
        ({"note": note("refused")}, "REFUSED", "because (3 times, by ada@h)"),
        ({"note": note("trashed"), "owner": "C", "seen_s": 1.0}, "TRASHED", "ada@h: because"),
    ],
)
def test_b3_a_job_stands_as_the_board_and_the_conductors_say(
    fields: dict[str, Any], standing: Standing, why: str
) -> None:
    found = judged(job(**fields), [conductor()], NOW_US)
    assert found.standing == standing
    assert why in found.why


def test_b3_a_draining_conductor_serves_nobody() -> None:
    assert judged(job(), [conductor(draining=True)], NOW_US).standing == "UNSERVED"


def test_b3_a_conductor_that_was_not_heard_for_long_serves_nobody() -> None:
    assert judged(job(), [conductor(seen_s=60.0)], NOW_US).standing == "UNSERVED"
