"""Results as pydantic has schemas for them, and the errors of requests."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from chatcache import (
    DecodeError,
    Exit,
    Failure,
    FailureSchema,
    InvalidValueError,
    MemoryPersistence,
    MissingPackageError,
    Persistable,
    Persistence,
    PersistenceStore,
    ReplayedError,
    Success,
    typed,
)


class Usage(BaseModel):
    model_config = ConfigDict(strict=True)
    when: datetime
    tokens: int = Field(alias="totalTokens")


class Answer(TypedDict):
    text: str
    usage: Usage


@dataclass(frozen=True)
class Point:
    x: float
    y: tuple[int, ...] = ()


@dataclass
class RateLimitedError(Exception):
    retry_after: float


@dataclass
class OverloadedError(Exception):
    kind: Literal["overloaded"]


class OddError(Exception):
    """Is made with other arguments than it hands on."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class MuteError(Exception):
    def __str__(self) -> str:
        raise RuntimeError


@dataclass(frozen=True)
class Ask:
    """Is a `Persistable` by its members."""

    success: Any
    failure: FailureSchema[Any] | None = None

    def primary_key(self) -> str:
        return "k"


@dataclass(frozen=True, slots=True)
class Locate(Persistable[Point]):
    success: ClassVar = typed(Point)

    def primary_key(self) -> str:
        return "Locate"


@pytest.fixture
def make() -> Callable[..., PersistenceStore]:
    persistence = Persistence(MemoryPersistence())
    return lambda **options: persistence.make("store", **options)


USAGE = Usage(when=datetime(2024, 2, 29, tzinfo=UTC), totalTokens=7)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Usage, USAGE),
        (Answer, {"text": "é", "usage": USAGE}),
        (Point, Point(1.5, (1, 2))),
        (list[Point | None], [None, Point(float("inf"))]),
        (int | str, "5"),
        (bytes, b"abc"),
        (dict[int, set[str]], {1: {"a"}}),
    ],
)
def test_a_value_of_a_type_comes_back(make: Callable[..., PersistenceStore], kind: Any, value: Any) -> None:
    request = Ask(typed(kind))
    make().set(request, Success(value))
    assert make().get(request) == Success(value)


@pytest.mark.parametrize(("kind", "value"), [(int, "5"), (Answer, {"text": "a"}), (str, "\ud800"), (Point, USAGE)])
def test_what_is_no_value_of_the_type_is_not_written(
    make: Callable[..., PersistenceStore], kind: Any, value: Any
) -> None:
    with pytest.raises(InvalidValueError, match="is refused by its schema"):
        make().set(Ask(typed(kind)), Success(value))
    assert make().get(Ask(typed(kind))) is None


def test_what_was_written_under_another_type_is_no_result(make: Callable[..., PersistenceStore]) -> None:
    make().set(Ask(typed(str)), Success("x"))
    with pytest.raises(DecodeError, match="should be a valid integer"):
        make().get(Ask(typed(int)))


def test_a_result_has_the_type_of_its_request(make: Callable[..., PersistenceStore]) -> None:
    make().set(Locate(), Success(Point(1)))
    found: Exit[Point] | None = make().get(Locate())
    assert isinstance(found, Success)
    assert found.value.x == 1


@pytest.mark.parametrize("error", [RateLimitedError(2.5), OverloadedError("overloaded")])
def test_errors_of_a_type_come_back_as_they_were(make: Callable[..., PersistenceStore], error: Exception) -> None:
    request = Ask(typed(int), typed(RateLimitedError | OverloadedError))
    make().set(request, Failure(error))
    assert make().get(request) == Failure(error)
    make().set(request, Failure(KeyError("other")))
    other = make().get(request)
    assert isinstance(other, Failure)
    assert isinstance(other.error, ReplayedError)


def test_an_allowed_error_is_made_without_its_init(make: Callable[..., PersistenceStore]) -> None:
    make().set(Ask(typed(int)), Failure(OddError(3, "text")))
    found = make(errors=[OddError]).get(Ask(typed(int)))
    assert isinstance(found, Failure)
    assert (type(found.error), str(found.error), found.error.args) == (OddError, "text", ("text",))
    assert vars(found.error) == {"code": 3}


def test_an_error_that_cannot_say_what_it_is_is_kept(make: Callable[..., PersistenceStore]) -> None:
    make().set(Ask(typed(int)), Failure(MuteError()))
    found = make().get(Ask(typed(int)))
    assert isinstance(found, Failure)
    assert "MuteError" in str(found.error)


def test_without_pydantic_an_error_says_what_to_install() -> None:
    program = "import sys; sys.modules['pydantic'] = None\nimport chatcache\nchatcache.typed(int)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "MissingPackageError: typed(<class 'int'>) needs pydantic" in done.stderr
    assert "pip install 'chatcache[pydantic]'" in done.stderr
    assert issubclass(MissingPackageError, ImportError)


def test_neither_pydantic_nor_pytest_is_imported_with_chatcache() -> None:
    program = "import sys, chatcache; print({'pydantic', 'pytest', 'chatcache.testing'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
