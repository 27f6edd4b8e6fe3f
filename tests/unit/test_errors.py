"""The error tree: one code per class, one section per code, one drawing of it all."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from flowledger.events import errors
from flowledger.events.errors import FlowledgerError

PAGE = (Path(__file__).parents[2] / "docs" / "errors.md").read_text()


def tree(root: type[FlowledgerError]) -> list[type[FlowledgerError]]:
    ours = [cls for cls in root.__subclasses__() if cls.__module__ == errors.__name__]
    return [root, *(below for cls in ours for below in tree(cls))]


TREE = tree(FlowledgerError)
FAMILIES = [cls for cls in TREE if FlowledgerError in cls.__bases__]


def family(cls: type[FlowledgerError]) -> type[FlowledgerError]:
    return next(each for each in FAMILIES if issubclass(cls, each))


def section(code: str) -> str:
    found = re.search(rf'<a id="{code.lower()}"></a>\n(### .+?)(?=\n<a id=|\n## |\Z)', PAGE, flags=re.DOTALL)
    return found.group(1) if found else ""


def test_no_two_errors_share_a_code() -> None:
    codes = [cls.code for cls in TREE]

    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize("cls", TREE[1:], ids=lambda cls: cls.__name__)
def test_a_code_tells_its_family(cls: type[FlowledgerError]) -> None:
    assert re.fullmatch(r"FL\d{3}", cls.code)
    assert cls.code[:3] == family(cls).code[:3]


@pytest.mark.parametrize("cls", TREE, ids=lambda cls: cls.__name__)
def test_each_error_is_explained_where_its_docs_url_points(cls: type[FlowledgerError]) -> None:
    error = cls.__new__(cls)  # each has its own arguments; where it points hangs on the class alone
    explained = section(cls.code)

    assert explained.startswith(f"### {cls.code} {cls.__name__}\n")
    assert len(explained.splitlines()) > 1, "a heading alone explains nothing"
    assert error.docs_url == f"docs/errors.md#{cls.code.lower()}"


def test_the_page_explains_no_error_that_is_gone() -> None:
    explained = re.findall(r"^### (FL\d{3}) ", PAGE, flags=re.MULTILINE)

    assert explained == [cls.code for cls in sorted(TREE, key=lambda cls: cls.code)]


@pytest.mark.parametrize("cls", TREE, ids=lambda cls: cls.__name__)
def test_the_drawing_in_the_module_names_it(cls: type[FlowledgerError]) -> None:
    assert re.search(rf"\b{cls.__name__}\b", errors.__doc__ or "")


@pytest.mark.parametrize("cls", FAMILIES, ids=lambda cls: cls.__name__)
def test_the_drawing_gives_each_family_its_number(cls: type[FlowledgerError]) -> None:
    assert re.search(rf"\b{cls.__name__} +{cls.code[:3]}xx\b", errors.__doc__ or "")


def test_the_text_of_an_error_has_code_message_and_hint() -> None:
    error = errors.KeyConflict("the key c-42 is taken")

    assert str(error) == (
        "[FL405] the key c-42 is taken\n  hint: use another key, or the inputs the key was first used with"
    )
    assert error.docs_url == "docs/errors.md#fl405"


@pytest.mark.parametrize(
    ("cls", "builtin"),
    [
        (errors.InputError, ValueError),
        (errors.RunNotFound, LookupError),
        (errors.StoreUnavailable, ConnectionError),
        (errors.BrokerUnavailable, ConnectionError),
        (errors.DeadLetterNotFound, LookupError),
    ],
)
def test_what_python_has_a_word_for_is_also_that(cls: type[FlowledgerError], builtin: type[Exception]) -> None:
    assert issubclass(cls, builtin)


@pytest.mark.parametrize("cls", [errors.NotReady, errors.Permanent])
def test_what_user_code_raises_is_no_error_of_ours(cls: type[Exception]) -> None:
    assert not issubclass(cls, FlowledgerError)
    assert cls.__name__ in (errors.__doc__ or "")


def test_an_input_that_does_not_fit_is_said_with_what_was_expected() -> None:
    assert errors.InputError("which runs?", expected="a run, or --all").hint == "expected: a run, or --all"
    assert errors.InputError("expected a number, given x", expected="a number").hint == ""
    assert errors.InputError("which runs?", expected="a run", hint="say --all").hint == "say --all"
