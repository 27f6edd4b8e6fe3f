"""Whether one annotation can ever hold another: no only when it is certain."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, NewType, TypedDict

import pytest
from pydantic import BaseModel, Field, SecretStr

from flowledger.core.annotations import can_hold


class Model(BaseModel):
    a: int


class More(Model):
    b: int


class Other(BaseModel):
    z: int


class Loose(BaseModel):
    a: int = 1
    z: int | None = None


@dataclass
class Data:
    a: int


class Dict(TypedDict):
    a: int


class Colour(enum.StrEnum):
    RED = "red"


class Text(str):
    __slots__ = ()


UserId = NewType("UserId", str)

YES: list[tuple[Any, Any]] = [
    (str, str), (Any, int), (int, Any), (int, object), (int, float), (bool, int), (str, str | None),
    (str | None, str), (list[str], Sequence[str]), (list[str], Iterable[str]), (list[Any], list[int]),
    (list, list[int]), (list[str], set[str]), (tuple[str, int], list[str | int]), (tuple[int, ...], list[float]),
    (list[Model], list[Data]), (Model, Data), (Model, dict[str, Any]), (Dict, Model), (More, Model), (Model, Loose),
    (dict[str, int], Mapping[str, int]), (str, dt.datetime), (dt.datetime, str), (str, uuid.UUID), (str, Path),
    (Path, str), (Decimal, float), (int, Decimal), (str, SecretStr), (str, Colour), (Colour, str),
    (Literal["a"], str), (str, Literal["a"]), (UserId, str), (str, UserId), (Text, str),
    (Annotated[int, Field(gt=0)], int), (None, None), (None, str | None), (int | str, str),
]  # fmt: skip
NO: list[tuple[Any, Any]] = [
    (str, int), (int, str), (str, bool), (float, int), (int, bool), (list[str], str), (str, list[str]),
    (list[str], list[int]), (list[int], dict[str, int]), (dict[str, int], list[int]), (Model, str), (str, Model),
    (None, str), (str, None), (int, Model), (Model, Other), (tuple[str, int], tuple[str, int, int]),
    (tuple[str, str], list[int]), (Literal["a"], Literal["b"]), (Literal["a"], int), (UserId, int),
    (list[Model], Model), (list[list[str]], list[str]), (Annotated[str, Field(min_length=1)], int), (int | None, str),
]  # fmt: skip


@pytest.mark.parametrize(("provided", "wanted"), YES)
def test_what_may_fit_is_let_through(provided: Any, wanted: Any) -> None:
    assert can_hold(provided, wanted)


@pytest.mark.parametrize(("provided", "wanted"), NO)
def test_what_can_never_fit_is_refused(provided: Any, wanted: Any) -> None:
    assert not can_hold(provided, wanted)
