# SPDX-License-Identifier: Apache-2.0
"""No SQL is put together in Python, but in the modules that are named here."""

from __future__ import annotations

from pathlib import Path

import pytest

from memtrace.tests.analyzer.glued_sql import glued

ROOT = Path(__file__).parents[2]
ROOMS = ("analyzer", "commands")
YET = (
    "analyzer/boot/accepts.py",
    "analyzer/compare/fine.py",
    "analyzer/gmem/clock.py",
    "analyzer/gmem/life.py",
    "analyzer/gmem/rows.py",
    "analyzer/gmem/together.py",
    "analyzer/ledger.py",
    "analyzer/scan.py",
    "analyzer/whatif/policies.py",
    "analyzer/whatif/prefault.py",
    "analyzer/whatif/replay.py",
    "analyzer/witnesses.py",
    "analyzer/zero/accounts.py",
    "analyzer/zero/by/clears.py",
    "analyzer/zero/by/frames.py",
    "analyzer/zero/by/holds.py",
    "analyzer/zero/by/stacks.py",
    "analyzer/zero/totals.py",
    "analyzer/zero/touches.py",
)
"""Modules whose SQL has yet to move into .sql files.  None is added."""

STANDS = [
    'connection.execute("SELECT 1")',
    'connection.execute("SELECT 1" " FROM t")',
    'connection.execute("SELECT $x", {"x": f"{y}"})',
    'connection.executemany("INSERT INTO t VALUES (?)", rows)',
    'A = "SELECT 1"\nconnection.sql(A)',
    'A: str = "SELECT 1"\ndef f(c):\n    c.sql(A)',
    'A = {"x": "SELECT 1", "y": "SELECT 2"}\ndef f(c, k):\n    c.sql(A[k])',
    'def f(c):\n    for text in ("SELECT 1", "SELECT 2"):\n        c.sql(text)',
    'def f(c, y):\n    text = "SELECT 1" if y else "SELECT 2"\n    c.sql(text)',
    "def make(c, table):\n    c.execute(table.sql)",
    'A = (files("p") / "a.sql").read_text(encoding="utf-8")\nc.execute(A)',
    "class M:\n    def query(self, sql, values):\n        return self.c.execute(sql, values)",
    "class M:\n    def _query(self, sql):\n        return self.c.execute(sql)",
    'rows.query("rows_", "SELECT 1 FROM rows_")',
    'callers.query(rows, "SELECT 1 FROM rows_")',
    'model.query("SELECT $x", {"x": 1})',
    'raise ValueError(f"{name} is no view; select one")',
    '", ".join(names)',
    "qmp.execute()",
    'rows.filter("dur_ns > 0").aggregate("count(*)")',
    "table.filter(mask)",
    "def _query(c, sql):\n    return c.sql(sql)\ndef sql(c, sql):\n    return _query(c, sql)",
]
GLUED = [
    'connection.execute(f"SELECT {x}")',
    'connection.execute("SELECT " + x)',
    'connection.execute("SELECT %s" % x)',
    'connection.execute("SELECT {}".format(x))',
    'connection.execute(" ".join(parts))',
    'A = f"{x} 1"\nconnection.sql(A)',
    'A = "SELECT {x}"\nconnection.sql(A.format(x=1))',
    "def f(c, text):\n    c.sql(text)",
    'A = "SELECT 1"\ndef f(c, A):\n    c.sql(A)',
    'def f(c, text):\n    if c:\n        text = "SELECT 1"\n    c.sql(text)',
    'def f(c, y):\n    text = "SELECT 1"\n    text += y\n    c.sql(text)',
    'def f(c, y):\n    text = "SELECT 1" if y else g()\n    c.sql(text)',
    "def f(c):\n    for text in texts():\n        c.sql(text)",
    'A = {"x": "SELECT 1", "y": f"{z}"}\nc.sql(A["x"])',
    "class M:\n    def query(self, sql, values):\n        return self.c.execute(sql + values)",
    "class M:\n    def query(self, sql, x):\n        sql = g(sql)\n        return self.c.execute(sql)",
    "class M:\n    def query(self, sql, x):\n        return self._query(sql + x)",
    'rows.query("rows_", f"{x}")',
    "callers.query(rows, text())",
    'model.query(f"{x}", {"x": 1})',
    'x = f"SELECT {y} FROM t"',
    'x = f"sum(a) OVER (PARTITION BY {y})"',
    'rows.filter(f"{x} IS NOT NULL")',
    'rows.filter(f"dur_ns > {x}")',
    'rows.project(", ".join(names))',
    'rows.aggregate("count(*), " + x)',
    "def _query(c, sql):\n    return c.sql(sql)\ndef f(c, text):\n    return _query(c, text)",
    'x = "CASE WHEN " + y',
    'x = "SELECT {y} FROM t".replace("{y}", z)',
    'A = "CREATE TEMP TABLE {name} AS SELECT 1"\nx = A.format(name=y)',
    'x = " UNION ALL ".join(["SELECT 1", y])',
]


@pytest.mark.parametrize("source", STANDS)
def test_a_text_that_stands_as_it_is_is_taken(source: str) -> None:
    assert glued(source) == []


@pytest.mark.parametrize("source", GLUED)
def test_a_text_that_is_put_together_is_found(source: str) -> None:
    assert glued(source)


def test_no_module_glues_sql_but_those_that_are_named() -> None:
    """One that no longer does is taken off the list."""
    modules = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
    assert len(modules) > 100
    found = {str(path.relative_to(ROOT)): glued(path.read_text()) for path in modules}
    assert {name: lines for name, lines in found.items() if lines and name not in YET} == {}
    assert [name for name in YET if not found.get(name)] == []
