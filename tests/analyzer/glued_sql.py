# SPDX-License-Identifier: Apache-2.0
"""Finds SQL that Python puts together: in .sql files and literals it can be read, run and searched for.

Two things are told of a module:

- what is handed to execute(), sql(), query() or another of ASKING and is no text that stands as
  it is: a literal, a name for one, or what was read from a .sql file.  Inside a function that has
  one of these names itself the text is its caller's, who is looked at.
- SQL words in an f-string, or in a text that %, +, format() or join() put together, and
  whatever is put together for a relation's filter(), project(), aggregate() or order().
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

ASKING = ("execute", "executemany", "sql", "query", "tuples", "arrow", "batches")
"""DuckDB's names, and those of functions of ours that pass a statement on; "_" before them does not count."""
RELATION = ("filter", "project", "aggregate", "order")
PUTTING_TOGETHER = ("format", "join", "replace")
_FROM_FILES = ("sql", "read_text")
"""Attributes whose value is the text of a file: Declared.sql, Path.read_text()."""
_SQL = re.compile(
    r"\bSELECT\b|\bINSERT INTO\b|\bDELETE FROM\b|\bDROP (TABLE|VIEW)\b|\bGROUP BY\b|\bPARTITION BY\b"
    r"|\bCREATE (OR REPLACE )?(TEMP )?(TABLE|VIEW|MACRO)\b|\bCASE WHEN\b|\bLEFT JOIN\b|\bIS (NOT )?NULL\b"
)
_IDENTIFIER = re.compile(r"\w+")
Function = ast.FunctionDef | ast.AsyncFunctionDef
Values = Mapping[str, list[ast.expr]]


def glued(source: str) -> list[int]:
    """The lines of a module where SQL is put together, sorted."""
    tree = ast.parse(source)
    module = _Scope(_bound(tree.body))
    found = set(_asked(tree, module)) | set(_composed(tree, module))
    return sorted(found)


@dataclass(frozen=True)
class _Scope:
    """What names stand for: those of the module, and of the functions around."""

    values: Values
    outer: _Scope | None = None
    given: frozenset[str] = field(default=frozenset())
    """Names that a caller gives, who is looked at."""

    def of(self, name: str) -> list[ast.expr] | None:
        """All that the name may stand for; None if that is not known, [] for a caller's text."""
        if name in self.given:
            return []
        if name in self.values:
            return self.values[name]
        return self.outer.of(name) if self.outer else None


def _bound(body: list[ast.stmt]) -> Values:
    """Each name that these statements bind, with what they bind it to; functions inside are apart."""
    found: dict[str, list[ast.expr]] = {}
    for node in _own(body):
        for target, value in _bindings(node):
            if isinstance(target, ast.Name):
                found.setdefault(target.id, []).append(value)
    return found


def _bindings(node: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    if isinstance(node, ast.Assign):
        yield from ((target, node.value) for target in node.targets)
    elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and node.value is not None:
        yield node.target, node.value
    elif isinstance(node, ast.AugAssign):
        yield node.target, ast.BinOp(node.target, node.op, node.value)
    elif isinstance(node, ast.For | ast.comprehension):
        whole = node.iter
        elements = whole.elts if isinstance(whole, ast.Tuple | ast.List) else [whole]
        yield from ((node.target, element) for element in elements)


def _own(nodes: list[ast.stmt]) -> Iterator[ast.AST]:
    """All nodes below these, but for those of functions inside."""
    waiting: list[ast.AST] = list(nodes)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, Function | ast.Lambda):
            waiting.extend(ast.iter_child_nodes(node))


def _asked(node: ast.AST, scope: _Scope) -> Iterator[int]:
    """Lines of calls that hand over a text that does not stand as it is."""
    for child in ast.iter_child_nodes(node):
        inner = _inside(child, scope) if isinstance(child, Function) else scope
        if isinstance(child, ast.Call) and not all(_stands(text, inner) for text in _asked_with(child)):
            yield child.lineno
        yield from _asked(child, inner)


def _inside(function: Function, scope: _Scope) -> _Scope:
    """What names stand for in a function."""
    arguments = function.args
    given = {a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)}
    bound = _bound(function.body)
    if function.name.lstrip("_") in ASKING:
        return _Scope(bound, scope, frozenset(given - bound.keys()))
    return _Scope({**bound, **{name: [_UNKNOWN, *bound.get(name, [])] for name in given}}, scope)


_UNKNOWN = ast.Call(ast.Name("unknown"), [], [])


def _asked_with(call: ast.Call) -> Iterator[ast.expr]:
    """The statement that a call hands to DuckDB, if it does so."""
    name = _called(call)
    if name not in ASKING or not call.args:
        return
    first = call.args[0]
    # relation.query(VIEW_NAME, sql) and callers.query(relation, sql), against Model.query(sql, values).
    named = isinstance(first, ast.Constant) and _IDENTIFIER.fullmatch(str(first.value)) is not None
    function = not isinstance(call.func, ast.Attribute) or ast.unparse(call.func) == "callers.query"
    second = name == "query" and len(call.args) > 1 and (named or function)
    yield call.args[1] if second else first


def _called(call: ast.Call) -> str:
    """The name of what is called, without underscores before it."""
    func = call.func
    name = func.attr if isinstance(func, ast.Attribute) else getattr(func, "id", "")
    return name.lstrip("_")


def _stands(text: ast.expr, scope: _Scope, depth: int = 0) -> bool:
    """Whether it is a literal, a name for literals only, or read from a file."""
    if depth > 9:
        return False
    if isinstance(text, ast.Constant):
        return isinstance(text.value, str)
    if isinstance(text, ast.Name):
        values = scope.of(text.id)
        return values is not None and all(_stands(value, scope, depth + 1) for value in values)
    if isinstance(text, ast.IfExp):
        return _stands(text.body, scope, depth + 1) and _stands(text.orelse, scope, depth + 1)
    if isinstance(text, ast.Subscript):
        return _stands(text.value, scope, depth + 1)
    if isinstance(text, ast.Dict):
        return all(_stands(value, scope, depth + 1) for value in text.values)
    if isinstance(text, ast.Tuple | ast.List):
        return all(_stands(value, scope, depth + 1) for value in text.elts)
    called = text.func if isinstance(text, ast.Call) else text
    return isinstance(called, ast.Attribute) and called.attr in _FROM_FILES


def _composed(tree: ast.Module, module: _Scope) -> Iterator[int]:
    """Lines of expressions that put a text with SQL words together, or any for a relation."""
    for node in ast.walk(tree):
        pieces = _pieces(node)
        if any(_SQL.search(text) for piece in pieces for text in _texts(piece, module)):
            yield node.lineno  # type: ignore[attr-defined]
        if isinstance(node, ast.Call) and _called(node) in RELATION and any(map(_pieces, node.args)):
            yield node.lineno


def _pieces(node: ast.AST) -> list[ast.expr]:
    """What a text is put together of; [] for what is no such text."""
    if isinstance(node, ast.JoinedStr) and any(isinstance(part, ast.FormattedValue) for part in node.values):
        return node.values
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Mod):
        return [node.left, node.right]
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and _called(node) in PUTTING_TOGETHER
    ):
        return [node.func.value, *node.args]
    return []


def _texts(piece: ast.expr, module: _Scope) -> Iterator[str]:
    """The literals that it is, has or stands for."""
    values = module.of(piece.id) if isinstance(piece, ast.Name) else [piece]
    for value in values or []:
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            yield value.value
        elif isinstance(value, ast.List | ast.Tuple):
            yield from (text for element in value.elts for text in _texts(element, module))
