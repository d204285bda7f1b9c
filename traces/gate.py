# SPDX-License-Identifier: Apache-2.0
"""The gate for documents: JSON of a run file becomes dataclasses here, or is refused.

Each field must have the type that its dataclass declares: true is no number, 3.0 no
whole one, null only where None is declared.  Numbers, lists and texts keep to their
ranges (traces/limits.py).  Keys that no field has are ignored: a newer version wrote
them.  Text may hold any character; what no encoding can write is spelled out
(traces/names.py).
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Hashable
from functools import cache
from typing import Any, NoReturn, TypeVar

from memtrace.traces.limits import ANY_INT, ANY_LIST, ANY_TEXT, AtMost, Range
from memtrace.traces.names import escaped

T = TypeVar("T")

MAX_BYTES = 32 << 20
"""Of a document.  65,536 processes, all that the kernel side counts, take 15 MB."""
_MAX_VALUES = 4_000_000
_MAX_CONTAINERS = 1_000_000
_SCALARS = {int: "a whole number", str: "a text", bool: "true or false", float: "a finite number"}


class Refused(ValueError):
    """A document or a row that is not what it must be; the text says which field, and how."""


def document(cls: type[T], text: str) -> T:
    """The dataclass in a JSON text; raises ValueError if it is not JSON.

    Raises Refused, a ValueError too, for a field that is wrong.
    """
    return typing.cast(T, _built(cls, _parsed(text), ""))


def _parsed(text: str) -> Any:
    # Before parsing: what the values would take as Python objects is many times the text.
    # Commas and brackets inside of texts count too; no real document comes near.
    if len(text) > MAX_BYTES:
        raise Refused(f"is larger than {MAX_BYTES >> 20} MiB")
    if text.count("[") + text.count("{") > _MAX_CONTAINERS or text.count(",") > _MAX_VALUES:
        raise Refused("has millions of values")
    try:
        return json.loads(text, parse_constant=_no_constant)
    except RecursionError:
        raise Refused("is nested too deeply") from None


def _no_constant(word: str) -> NoReturn:
    raise Refused(f"has {word} for a number")


@cache
def _fields(cls: Any) -> dict[str, tuple[Any, bool]]:
    """Type and whether it must be there, by the name of the field."""
    hints = typing.get_type_hints(cls, include_extras=True)
    absent = dataclasses.MISSING
    return {
        f.name: (hints[f.name], f.default is absent and f.default_factory is absent)
        for f in dataclasses.fields(cls)
    }


def _built(cls: type[Any], data: Any, where: str) -> Any:
    if not isinstance(data, dict):
        _refuse(where, "an object", data)
    fields: dict[str, tuple[Any, bool]] = _fields(typing.cast(Hashable, cls))
    for name, (_, needed) in fields.items():
        if needed and name not in data:
            raise Refused(f"has no {_at(where, name)}")
    return cls(
        **{
            name: _value(fields[name][0], value, _at(where, name))
            for name, value in data.items()
            if name in fields
        }
    )


def _value(hint: Any, value: Any, where: str, limit: Any = None) -> Any:
    """``value`` as the annotation ``hint`` says it must be."""
    origin = typing.get_origin(hint)
    if origin is typing.Annotated:
        return _value(hint.__origin__, value, where, hint.__metadata__[0])
    if origin in (typing.Union, types.UnionType):
        inner = [a for a in typing.get_args(hint) if a is not type(None)]
        return None if value is None else _value(inner[0], value, where, limit)
    if origin is tuple:
        return _tuple(typing.get_args(hint), value, where, limit or ANY_LIST)
    if origin is dict:
        return _mapping(typing.get_args(hint), value, where, limit or ANY_LIST)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _built(hint, value, where)
    return _scalar(hint, value, where, limit)


def _tuple(args: tuple[Any, ...], value: Any, where: str, limit: AtMost) -> tuple[Any, ...]:
    if not isinstance(value, list):
        _refuse(where, "a list", value)
    if len(args) == 2 and args[1] is Ellipsis:
        _short(value, where, limit, "items")
        args = (args[0],) * len(value)
    elif len(value) != len(args):
        raise Refused(f"has {len(value)} items in {where} where {len(args)} belong")
    return tuple(_value(a, v, f"{where}[{i}]") for i, (a, v) in enumerate(zip(args, value, strict=True)))


def _mapping(args: tuple[Any, ...], value: Any, where: str, limit: AtMost) -> dict[Any, Any]:
    if not isinstance(value, dict):
        _refuse(where, "an object", value)
    _short(value, where, limit, "keys")
    return {_value(args[0], k, where): _value(args[1], v, f"{where}[{_shown(k)}]") for k, v in value.items()}


def _scalar(kind: type[Any], value: Any, where: str, limit: Any) -> Any:
    if kind is float and type(value) is int:
        value = float(value) if abs(value) < 1 << 1000 else math.inf
    if type(value) is not kind or (kind is float and not math.isfinite(value)):
        _refuse(where, _SCALARS[kind], value)
    if kind is str:
        _short(value, where, limit or ANY_TEXT, "characters")
        return escaped(value)
    if kind is int:
        _within(value, where, limit or ANY_INT)
    return value


def _within(value: int, where: str, allowed: Range) -> None:
    if not allowed.low <= value <= allowed.high:
        raise Refused(f"has {_shown(value)} for {where}, which is {allowed.low} to {allowed.high}")
    if allowed.power and value & (value - 1):
        raise Refused(f"has {value} for {where}, which is a power of two")


def _short(value: Any, where: str, limit: AtMost, what: str) -> None:
    if len(value) > limit.items:
        raise Refused(f"has {len(value):,} {what} in {where}, more than the {limit.items:,} that are read")


def _at(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _refuse(where: str, wanted: str, value: Any) -> NoReturn:
    raise Refused(f"has {_shown(value)} for {where or 'the whole'} where {wanted} belongs")


def _shown(value: Any) -> str:
    """A short form of a value, in ASCII: it goes to a terminal."""
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    if isinstance(value, int) and abs(value) > 1 << 70:
        return "a number of many digits"
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
