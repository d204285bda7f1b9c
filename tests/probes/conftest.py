# SPDX-License-Identifier: Apache-2.0
"""Recorded machines, laid out as trees that the probes read instead of /."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

MACHINES = Path(__file__).parent / "machines"

Machine = Callable[..., Path]


@pytest.fixture
def tree(tmp_path: Path) -> Callable[[Mapping[str, str]], Path]:
    """Writes ``{path: text}`` below a temporary root; a path ending in / becomes a directory."""

    def write(files: Mapping[str, str]) -> Path:
        for path, text in files.items():
            target = tmp_path / path.lstrip("/")
            if path.endswith("/"):
                target.mkdir(parents=True, exist_ok=True)
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text)
        return tmp_path

    return write


@pytest.fixture
def machine(tree: Callable[[Mapping[str, str]], Path]) -> Machine:
    """Root of a recorded machine, with ``changes`` to its files; a file changed to None is absent."""

    def lay_out(name: str, changes: Mapping[str, str | None] | None = None) -> Path:
        files: dict[str, str | None] = json.loads((MACHINES / f"{name}.json").read_text())
        files.update(changes or {})
        return tree({path: text for path, text in files.items() if text is not None})

    return lay_out
