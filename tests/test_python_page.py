# SPDX-License-Identifier: Apache-2.0
"""docs/python.md does what it says: its code runs, block after block, and prints what stands below.

``MEMTRACE_RENEW_GOLDEN=1 pytest tests/test_python_page.py`` writes the outputs anew.
"""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Any

import pytest

from memtrace.tests.analyzer.goldens import as_it_was
from memtrace.traces.importers.assemble import Request, run_import

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "python.md"
BLOCK = re.compile(r"```python\n(?P<code>.*?)```\n\n```\n(?P<output>.*?)```\n", re.S)


@pytest.fixture
def run_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run.parquet that the page's command makes."""
    monkeypatch.chdir(tmp_path)
    (trace,) = re.findall(r"memtrace import (\S+) -o run\.parquet\n", PAGE.read_text())
    run_import(Request((str(ROOT / trace),), Path("run.parquet")))


@pytest.mark.usefixtures("run_here")
def test_the_page_prints_what_it_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    names: dict[str, Any] = {}

    def ran(block: re.Match[str]) -> str:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(block["code"], PAGE.name, "exec"), names)
        output = "".join(f"{line.rstrip()}\n" for line in printed.getvalue().splitlines())
        return f"```python\n{block['code']}```\n\n```\n{output}```\n"

    as_it_was(PAGE, BLOCK.sub(ran, PAGE.read_text()))


def test_each_block_of_code_has_its_output() -> None:
    text = PAGE.read_text()
    assert text.count("```python\n") == len(BLOCK.findall(text)) > 5
    assert all(block["output"] for block in BLOCK.finditer(text))


def test_links_lead_to_files() -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", PAGE.read_text()):
        assert (PAGE.parent / link).exists(), link
