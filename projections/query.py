"""The query language of runs: ``state:failed flow:provision* -tag:test started:>2h error~"quota"``.

Terms stand beside each other and must all hold. A term is a field, ``:`` and values (``,`` between them means or), or
``~`` and words the text has in it, or a word alone. ``-`` before a term turns it round, ``*`` in a value stands for
anything, ``"…"`` around a whole value keeps spaces. Times compare with an age (``started:<2h`` is: less than two hours
ago) or a date; durations and numbers with ``>``, ``<``, ``>=``, ``<=``.

A query is parsed into values (`Parsed`), these into conditions on the table (`selecting`): nothing of its text is ever
part of a statement.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from typing import Final, NamedTuple, NoReturn, TypeVar

from flowledger.events.errors import InputError
from flowledger.events.store import FINAL

from .history.tables import RUNS, TAGS
from .selecting import AllOf, AnyOf, Compares, Comparison, Condition, Fits, Holds, InTable, IsIn, Not

T = TypeVar("T")

#: So long a query may be, in characters; and so many terms and values it may have.
LONGEST: Final = 2_000
MOST: Final = 50

_STATES: Final = (
    "PENDING", "RUNNING", "REVERTING", "SUSPENDING", "SUSPENDED", "SUCCEEDED", "REVERTED", "FAILED", "CANCELLED",
)  # fmt: skip
#: Words for several states.
_GROUPS: Final = {"final": tuple(sorted(FINAL)), "live": tuple(state for state in _STATES if state not in FINAL)}

_SECOND_US: Final = 1_000_000
_UNITS: Final = {"ms": 1_000, "s": _SECOND_US, "m": 60 * _SECOND_US, "h": 3_600 * _SECOND_US, "d": 86_400 * _SECOND_US,
                 "w": 7 * 86_400 * _SECOND_US}  # fmt: skip
_DURATION: Final = re.compile(r"(?:[0-9]{1,9}(?:\.[0-9]{1,6})?(?:ms|[smhdw]))+", re.ASCII)
_PIECE: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|[smhdw])", re.ASCII)
_NUMBER: Final = re.compile(r"[0-9]{1,18}", re.ASCII)
_FIELD: Final = re.compile(r"([A-Za-z_]+)(:|~)")
_HOW: Final = re.compile(r"(<=|>=|<|>)?")
_TURNED: Final[dict[Comparison, Comparison]] = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
_LONGEST_US: Final = 100 * 366 * 86_400 * _SECOND_US


class Word(NamedTuple):
    """A value as it was written; ``quoted``: a ``*`` in it is a star."""

    text: str
    quoted: bool
    place: int


@dataclass(frozen=True, slots=True)
class Term:
    """One term: the field (None for a word alone), whether ``~`` stood after it, the comparison, the values."""

    field: str | None
    holds: bool
    how: Comparison | None
    values: tuple[Word, ...]
    negated: bool
    place: int


@dataclass(frozen=True, slots=True)
class Parsed:
    """A query that fits the language; ``text`` is what was written."""

    text: str
    terms: tuple[Term, ...]

    def conditions(self, now_us: int) -> tuple[Condition, ...]:
        """The conditions it stands for; ages are counted back from ``now_us`` (microseconds since the epoch)."""
        return tuple(_turned(term, _condition(self.text, term, now_us)) for term in self.terms)


def parse(text: str) -> Parsed:
    """Read a query.

    Raises:
        InputError: it is not one; the message says at which character, and what would be.
    """
    if len(text) > LONGEST:
        raise InputError(
            f"the query has {len(text):,} characters", field="query", expected=f"at most {LONGEST:,}", given="",
            hint=f"{LONGEST:,} are the most",
        )  # fmt: skip
    terms: list[Term] = []
    place = _space(text, 0)
    while place < len(text):
        term, place = _term(text, place)
        if place < len(text) and not text[place].isspace():
            _wrong(text, place, "a value ends here, and something stands close behind it",
                   hint='one that has spaces, commas or quotes in it is quoted as a whole: tag:"team=a b"')  # fmt: skip
        terms.append(term)
        place = _space(text, place)
    if len(terms) > MOST:
        _wrong(text, terms[MOST].place, f"a query has at most {MOST} terms")
    parsed = Parsed(text, tuple(terms))
    parsed.conditions(0)  # what a term's field does not take is found here
    return parsed


# -- reading ------------------------------------------------------------------------------------


def _space(text: str, place: int) -> int:
    while place < len(text) and text[place].isspace():
        place += 1
    return place


def _term(text: str, begin: int) -> tuple[Term, int]:
    negated = text[begin] == "-"
    place = begin + negated
    if place == len(text) or text[place].isspace():
        _wrong(text, begin, "a - turns round the term that follows it, and none does", hint="-tag:test leaves out …")
    found = _FIELD.match(text, place)
    if found is None:
        word, place = _word(text, place, stop="")
        return Term(None, False, None, (word,), negated, begin), place
    field = _known_field(text, place, found[1])
    holds = found[2] == "~"
    compared = _HOW.match(text, found.end())
    how: Comparison | None = compared[1] if compared and not holds else None  # type: ignore[assignment]
    place = found.end() + len(how or "")
    values: list[Word] = []
    while True:
        word, place = _word(text, place, stop=",")
        values.append(word)
        if len(values) > MOST:
            _wrong(text, word.place, f"a term has at most {MOST} values")
        if place >= len(text) or text[place] != ",":
            return Term(field, holds, how, tuple(values), negated, begin), place
        place += 1


def _word(text: str, place: int, *, stop: str) -> tuple[Word, int]:
    if place < len(text) and text[place] == '"':
        end = text.find('"', place + 1)
        if end < 0:
            _wrong(text, place, 'the " is not closed')
        return Word(text[place + 1 : end], True, place), end + 1
    end = place
    while end < len(text) and not text[end].isspace() and text[end] not in stop and text[end] != '"':
        end += 1
    if end == place:
        _wrong(text, place, "a value is missing", hint='write it as it is, or as "…" where it has spaces')
    return Word(text[place:end], False, place), end


def _known_field(text: str, place: int, name: str) -> str:
    field = _ALIASES.get(name.lower(), name.lower())
    if field not in _FIELDS:
        near = get_close_matches(field, _FIELDS, n=1)
        hint = f"did you mean {near[0]}:? " if near else ""
        _wrong(text, place, f"there is no field {name}", hint=f"{hint}fields are {', '.join(_FIELDS)}")
    return field


def _wrong(text: str, place: int, what: str, *, hint: str | None = None) -> NoReturn:
    raise InputError(
        f"query, character {place + 1}: {what}\n  {text}\n  {' ' * place}^", field="query", given=text,
        hint=hint or "flow:provision* state:failed,reverted -tag:test started:<2h error~\"quota\"",
    )  # fmt: skip


# -- what it stands for -------------------------------------------------------------------------


def _turned(term: Term, condition: Condition) -> Condition:
    return Not(condition) if term.negated else condition


def _condition(text: str, term: Term, now_us: int) -> Condition:
    if term.field is None:
        return _anywhere(term.values[0].text)
    return _FIELDS[term.field](text, term, now_us)


def _anywhere(word: str) -> Condition:
    """A word alone: in the flow's name, in the key, or the beginning of an id."""
    begins = Fits("run_id", f"{word.upper().replace('*', '')}*")
    return AnyOf((Holds("flow", word), Holds("key", word), begins))


def _any(conditions: list[Condition]) -> Condition:
    return conditions[0] if len(conditions) == 1 else AnyOf(tuple(conditions))


def _text(column: str) -> Callable[[str, Term, int], Condition]:
    def condition(text: str, term: Term, _: int) -> Condition:
        _no_comparison(text, term)
        return _any(_texts(column, term))

    return condition


def _texts(column: str, term: Term) -> list[Condition]:
    if term.holds:
        return [Holds(column, word.text) for word in term.values]
    plain = tuple(word.text for word in term.values if word.quoted or "*" not in word.text)
    fits: list[Condition] = [Fits(column, word.text) for word in term.values if not word.quoted and "*" in word.text]
    return [IsIn(column, plain), *fits] if plain else fits


def _no_comparison(text: str, term: Term) -> None:
    if term.how is not None:
        _wrong(text, term.place, f"{term.field} is text: it does not compare with {term.how}",
               hint=f"{term.field}:VALUE, {term.field}:BEGIN* or {term.field}~WORDS")  # fmt: skip


def _id(text: str, term: Term, _: int) -> Condition:
    _no_comparison(text, term)
    upper = term.values if term.holds else tuple(word._replace(text=word.text.upper()) for word in term.values)
    return _any(_texts("run_id", Term(term.field, term.holds, None, upper, term.negated, term.place)))


def _state(text: str, term: Term, _: int) -> Condition:
    _no_comparison(text, term)
    states: list[str] = []
    for word in term.values:
        if word.text.lower() in _GROUPS:
            states += _GROUPS[word.text.lower()]
        elif word.text.upper() in _STATES and not term.holds:
            states.append(word.text.upper())
        else:
            known = [*(state.lower() for state in _STATES), *_GROUPS]
            near = get_close_matches(word.text.lower(), known, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            _wrong(text, word.place, f"there is no state {word.text}", hint=f"{hint}states are {', '.join(known)}")
    return IsIn("state", tuple(dict.fromkeys(states)))


def _tag(text: str, term: Term, _: int) -> Condition:
    """``tag:name``, ``tag:name=value``; both may have stars."""
    _no_comparison(text, term)
    found: list[Condition] = []
    for word in term.values:
        name, given, value = word.text.partition("=")
        if not name:
            _wrong(text, word.place, "a tag has a name", hint="tag:NAME or tag:NAME=VALUE")
        conditions = [_tag_part("name", name, word.quoted)]
        if term.holds:
            conditions = [AnyOf((Holds("name", word.text), Holds("value", word.text)))]
        elif given:
            conditions.append(_tag_part("value", value, word.quoted))
        found.append(InTable("run_id", TAGS, "run_id", tuple(conditions)))
    return _any(found)


def _tag_part(column: str, text: str, quoted: bool) -> Condition:
    return Fits(column, text) if "*" in text and not quoted else IsIn(column, (text,))


def _number(column: str) -> Callable[[str, Term, int], Condition]:
    def condition(text: str, term: Term, _: int) -> Condition:
        _no_words(text, term)
        numbers = [_one_number(text, word) for word in term.values]
        if term.how is None:
            return IsIn(column, tuple(numbers))
        return Compares(column, term.how, _alone(text, term, numbers))

    return condition


def _one_number(text: str, word: Word) -> int:
    if not _NUMBER.fullmatch(word.text):
        _wrong(text, word.place, f"{word.text!r} is not a number", hint="tasks:>100")
    return int(word.text)


def _took(text: str, term: Term, now_us: int) -> Condition:
    """From the start to the end, or to now while there is none."""
    _no_words(text, term)
    lengths = [_duration(text, word) for word in term.values]
    return Compares(
        "ended_us", term.how or ">=", _alone(text, term, lengths), since="started_us", otherwise=now_us
    )  # fmt: skip


def _time(column: str) -> Callable[[str, Term, int], Condition]:
    def condition(text: str, term: Term, now_us: int) -> Condition:
        _no_words(text, term)
        word = _alone(text, term, list(term.values))
        if _DURATION.fullmatch(word.text):  # an age: more of it is earlier
            return Compares(column, _TURNED[term.how or "<"], now_us - _duration(text, word))
        begin_us, end_us = _moment(text, word)
        if term.how is not None:
            return Compares(column, term.how, begin_us if term.how in ("<", ">=") else end_us - 1)
        return AllOf((Compares(column, ">=", begin_us), Compares(column, "<", end_us)))

    return condition


def _no_words(text: str, term: Term) -> None:
    if term.holds:
        _wrong(text, term.place, f"{term.field} has no words in it", hint=f"compare it: {term.field}:>…")


def _alone(text: str, term: Term, values: list[T]) -> T:
    if len(values) > 1:
        _wrong(text, term.values[1].place, "a comparison takes one value")
    return values[0]


def _duration(text: str, word: Word) -> int:
    """Microseconds."""
    if not _DURATION.fullmatch(word.text):
        _wrong(text, word.place, f"{word.text!r} is not a duration", hint="30s, 5m, 1h30m, 2d, 1w, 250ms")
    length_us = round(sum(float(number) * _UNITS[unit] for number, unit in _PIECE.findall(word.text)))
    if length_us > _LONGEST_US:
        _wrong(text, word.place, "that is more than a hundred years")
    return length_us


def _moment(text: str, word: Word) -> tuple[int, int]:
    """The first microsecond of a date or a time (UTC unless it says otherwise), and the first after it."""
    try:
        at = datetime.fromisoformat(word.text)
    except ValueError:
        at = None
    if at is None or not 1970 <= at.year < 9000:
        _wrong(text, word.place, f"{word.text!r} is neither an age nor a date",
               hint="2h, 3d, 2026-11-26, 2026-11-26T09:30Z")  # fmt: skip
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    begin_us = (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    width = timedelta(days=1) if len(word.text) <= len("2026-11-26") else timedelta(seconds=1)
    if ":" in word.text and word.text.count(":") == 1:
        width = timedelta(minutes=1)
    return begin_us, begin_us + width // timedelta(microseconds=1)


def moment_us(text: str, now_us: int, *, field: str) -> int:
    """A time as people write it, an age or a date, in microseconds since the epoch.

    Raises:
        InputError: it is neither.
    """
    word = Word(text, False, 0)
    try:
        return now_us - _duration(text, word) if _DURATION.fullmatch(text) else _moment(text, word)[0]
    except InputError as error:
        raise InputError(
            f"{field} {text}: neither an age nor a date", field=field, given=text, expected="2h, 2026-11-26T09:30Z",
            hint=error.hint,
        ) from error  # fmt: skip


_FIELDS: Final[dict[str, Callable[[str, Term, int], Condition]]] = {
    "state": _state,
    "flow": _text("flow"),
    "key": _text("key"),
    "id": _id,
    "tag": _tag,
    "error": _text("error"),
    "at": _text("failed_at"),
    "failure": _text("failure"),
    "app": _text("app"),
    "actor": _text("actor"),
    "owner": _text("owner"),
    "submitted": _time("submitted_us"),
    "started": _time("started_us"),
    "ended": _time("ended_us"),
    "updated": _time("updated_us"),
    "took": _took,
    "tasks": _number("tasks"),
    "done": _number("done"),
    "attempts": _number("attempts"),
    "events": _number("version"),
}
_ALIASES: Final = {"name": "flow", "run": "id", "status": "state", "tags": "tag", "since": "submitted"}
#: The fields a query may name.
FIELDS: Final = tuple(_FIELDS)
#: Columns by which rows are found without looking at others.
INDEXED: Final = tuple(index[0] for index in RUNS.indexes)
