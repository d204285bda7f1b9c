# SPDX-License-Identifier: Apache-2.0
"""One file that records: memtrace's modules, click, and kept programs, as a zip that Python runs.

numpy and pyarrow are not in it, because they are not Python alone.
"""

from __future__ import annotations

import importlib.util
import io
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import memtrace
from memtrace.errors import MemtraceError
from memtrace.probes.programs.compiled import Compiled
from memtrace.probes.programs.kept import SUFFIX, encoded
from memtrace.probes.programs.shipped import FOLDER

_LEFT_OUT = ("tests", "benchmarks", "lab", "docs", "build")
_DATA = (".c", ".h")
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The time of each entry, so that equal contents are equal files."""
_MAIN = """\
import os, runpy, sys

file = os.path.abspath(os.path.dirname(__file__))
beside = os.path.splitext(file)[0] + ".d"
if os.path.isdir(beside):
    sys.path.insert(1, beside)
if sys.argv[1:2] == ["-m"] and len(sys.argv) > 2:
    del sys.argv[1]
    runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
else:
    from memtrace.cli import main

    sys.exit(main())
"""


def packed(programs: tuple[Compiled, ...]) -> bytes:
    """Return the file: ``python3 FILE record ...`` runs it, and so does FILE itself if it may be executed.

    Modules are looked for in it first, then in the folder that is named as the file but for its
    ending, which is ``.d``.  ``FILE -m MODULE`` runs one module.
    """
    out = io.BytesIO(b"#!/usr/bin/env python3\n")
    out.seek(0, io.SEEK_END)
    with zipfile.ZipFile(out, "a", zipfile.ZIP_DEFLATED) as archive:
        _put(archive, "__main__.py", _MAIN.encode())
        for name, data in (*_memtrace(), *_click()):
            _put(archive, name, data)
        for compiled in programs:
            _put(archive, f"memtrace/{FOLDER}/{compiled.digest}{SUFFIX}", encoded(compiled))
    return out.getvalue()


def _put(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.external_attr = 0o644 << 16
    archive.writestr(entry, data, zipfile.ZIP_DEFLATED)


def _memtrace() -> Iterator[tuple[str, bytes]]:
    root = Path(str(memtrace.__file__)).parent
    for path in sorted(root.rglob("*")):
        inside = path.relative_to(root)
        hidden = any(part.startswith((".", "__pycache__")) for part in inside.parts)
        if hidden or inside.parts[0] in _LEFT_OUT or not path.is_file():
            continue
        if path.suffix == ".py" or (inside.parts[0] == "probes" and path.suffix in _DATA):
            yield f"memtrace/{inside}", path.read_bytes()


def _click() -> Iterator[tuple[str, bytes]]:
    """Yield the modules of click and its licence."""
    spec = importlib.util.find_spec("click")
    if spec is None or spec.origin is None:
        raise MemtraceError("click is not installed here: a bundle has a copy of it")
    root = Path(spec.origin).parent
    for path in sorted(root.glob("*.py")):
        yield f"click/{path.name}", path.read_bytes()
    for file in metadata.files("click") or ():
        if file.name.upper().startswith("LICEN"):
            yield f"click/{file.name}", Path(str(file.locate())).read_bytes()
