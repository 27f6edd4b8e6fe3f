"""The query language: what terms mean, and that whatever else is typed is refused with the place and what to write."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowledger.events.errors import InputError
from flowledger.projections.history.tables import TAGS
from flowledger.projections.query import FIELDS, LONGEST, MOST, parse
from flowledger.projections.selecting import AllOf, AnyOf, Compares, Condition, Fits, Holds, InTable, IsIn, Not

NOW = 1_000_000_000_000_000
S, H = 1_000_000, 3_600_000_000


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("state:failed", IsIn("state", ("FAILED",))),
        ("status:FAILED,reverted", IsIn("state", ("FAILED", "REVERTED"))),
        ("state:final", IsIn("state", ("CANCELLED", "FAILED", "REVERTED", "SUCCEEDED"))),
        ("-state:succeeded", Not(IsIn("state", ("SUCCEEDED",)))),
        ("flow:build", IsIn("flow", ("build",))),
        ("name:provision*", Fits("flow", "provision*")),
        ("flow:a,b*", AnyOf((IsIn("flow", ("a",)), Fits("flow", "b*")))),
        ('flow:"a*"', IsIn("flow", ("a*",))),
        ('error~"no quota"', Holds("error", "no quota")),
        ("error~quota,disk", AnyOf((Holds("error", "quota"), Holds("error", "disk")))),
        ("at:*/create_server", Fits("failed_at", "*/create_server")),
        ("id:01jd*", Fits("run_id", "01JD*")),
        ("tag:team", InTable("run_id", TAGS, "run_id", (IsIn("name", ("team",)),))),
        (
            "-tag:team=a*",
            Not(InTable("run_id", TAGS, "run_id", (IsIn("name", ("team",)), Fits("value", "a*")))),
        ),
        ("tag:url=http://x/?a=b", InTable("run_id", TAGS, "run_id", (IsIn("name", ("url",)), IsIn("value", ("http://x/?a=b",))))),
        ("started:>2h", Compares("started_us", "<", NOW - 2 * H)),
        ("started:<2h", Compares("started_us", ">", NOW - 2 * H)),
        ("started:2h", Compares("started_us", ">", NOW - 2 * H)),
        ("since:1h30m", Compares("submitted_us", ">", NOW - 5400 * S)),
        ("ended:>=1970-01-02", Compares("ended_us", ">=", 24 * H)),
        ("ended:>1970-01-02", Compares("ended_us", ">", 48 * H - 1)),
        ("ended:<1970-01-02", Compares("ended_us", "<", 24 * H)),
        ("ended:<=1970-01-02", Compares("ended_us", "<=", 48 * H - 1)),
        ("ended:1970-01-02", AllOf((Compares("ended_us", ">=", 24 * H), Compares("ended_us", "<", 48 * H)))),
        ("ended:>=1970-01-01T01:00Z", Compares("ended_us", ">=", H)),
        ("ended:>=1970-01-01T01:00+01:00", Compares("ended_us", ">=", 0)),
        ("ended:1970-01-01T01:00", AllOf((Compares("ended_us", ">=", H), Compares("ended_us", "<", H + 60 * S)))),
        ("took:>1.5s", Compares("ended_us", ">", 1_500_000, since="started_us", otherwise=NOW)),
        ("took:250ms", Compares("ended_us", ">=", 250_000, since="started_us", otherwise=NOW)),
        ("tasks:>=10", Compares("tasks", ">=", 10)),
        ("events:3,4", IsIn("version", (3, 4))),
        ("quota", AnyOf((Holds("flow", "quota"), Holds("key", "quota"), Fits("run_id", "QUOTA*")))),
    ],
)  # fmt: skip
def test_a_term_means(text: str, condition: Condition) -> None:
    assert parse(text).conditions(NOW) == (condition,)


def test_terms_beside_each_other_must_all_hold() -> None:
    parsed = parse('  state:failed   flow:provision* -tag:test started:>2h error~"quota" ')
    assert [term.field for term in parsed.terms] == ["state", "flow", "tag", "started", "error"]
    assert [term.negated for term in parsed.terms] == [False, False, True, False, False]
    assert parse("   ").conditions(NOW) == ()


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("sate:failed", 1, "did you mean state:"),
        ("flow:a colour:red", 8, "fields are"),
        ("state:faild", 7, "did you mean failed"),
        ("state:failed,ok", 14, "no state ok"),
        ("state~failed", 7, "no state"),
        ("flow:", 6, "value is missing"),
        ("flow:a, b", 8, "value is missing"),
        ('error~"quota', 7, "not closed"),
        ('tag:team="a b"', 10, 'tag:"team=a b"'),
        ('flow:a"b c"', 7, "quoted as a whole"),
        ('flow:"a"b', 9, "quoted as a whole"),
        ("flow:>2", 1, "does not compare"),
        ("a -", 3, "turns round"),
        ("started:yesterday", 9, "neither an age nor a date"),
        ("started:2026-13-01", 9, "neither an age nor a date"),
        ("started~2h", 1, "no words in it"),
        ("started:<1h,2h", 13, "takes one value"),
        ("took:5", 6, "not a duration"),
        ("took:>5", 7, "not a duration"),
        ("took:999999999w", 6, "hundred years"),
        ("tasks:many", 7, "not a number"),
        ("tasks:>1,2", 10, "takes one value"),
        ("tasks:-1", 7, "not a number"),
        ("tag:=x", 5, "a tag has a name"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, place: int, said: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(text)
    assert f"character {place}:" in caught.value.message
    assert said in f"{caught.value.message} {caught.value.hint}"
    assert caught.value.field == "query"


def test_a_query_has_an_end() -> None:
    for text in ("a" * (LONGEST + 1), "a " * (MOST + 1), "flow:" + ",".join("a" * (MOST + 1))):
        with pytest.raises(InputError):
            parse(text)


TYPED = st.one_of(
    st.text(), st.text(alphabet=' :~<>=,"-*ab2h'), st.builds("{}:{}".format, st.sampled_from(FIELDS), st.text())
)


@given(TYPED)
def test_rel_s5_whatever_is_typed_is_a_query_or_an_input_error(text: str) -> None:
    with suppress(InputError):
        parsed = parse(text)
        assert len(parsed.conditions(NOW)) == len(parsed.terms)
