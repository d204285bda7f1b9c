# SPDX-License-Identifier: Apache-2.0
"""What tracefs says: which functions may be traced, and the formats of events.

Where tracefs is not mounted, a short-lived child mounts it in a mount namespace
of its own and reads it.  Nobody else sees the mount, which ends with the child,
and a traced COMMAND runs in the namespace it was started from.
"""

from __future__ import annotations

import ast
import contextlib
import ctypes
import os
import pickle
import re
from collections.abc import Iterable
from pathlib import Path

_CANDIDATES = (Path("/sys/kernel/tracing"), Path("/sys/kernel/debug/tracing"))
_CLONE_NEWNS = 0x00020000
_MS_REC, _MS_PRIVATE = 0x4000, 0x40000


def mounted() -> Path | None:
    """Return the directory in which tracefs is mounted; None if there is none."""
    for path in _CANDIDATES:
        with contextlib.suppress(PermissionError):
            if (path / "events").is_dir():
                return path
    return None


def read(names: Iterable[str]) -> dict[str, bytes]:
    """Return the contents of tracefs files by name below its root; what can't be read is left out."""
    names = tuple(names)
    path = mounted()
    return _read_files(path, names) if path is not None else _read_in_child(names)


def _read_files(root: Path, names: tuple[str, ...]) -> dict[str, bytes]:
    found = {}
    for name in names:
        try:
            found[name] = (root / name).read_bytes()
        except OSError:
            continue
    return found


def _read_in_child(names: tuple[str, ...]) -> dict[str, bytes]:
    source, sink = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(source)
            with open(sink, "wb") as out:
                pickle.dump(_read_files(_CANDIDATES[0], names) if _mount() else {}, out)
        finally:
            os._exit(0)
    os.close(sink)
    with open(source, "rb") as answer:
        data = answer.read()
    os.waitpid(pid, 0)
    result: dict[str, bytes] = pickle.loads(data) if data else {}
    return result


def _mount() -> bool:
    libc = ctypes.CDLL(None)
    if libc.unshare(_CLONE_NEWNS) or libc.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None):
        return False
    mounted_here: int = libc.mount(b"tracefs", os.fsencode(_CANDIDATES[0]), b"tracefs", 0, None)
    return mounted_here == 0


def traceable(name: str, functions: bytes | None) -> bool | None:
    """Return whether ``name`` is in available_filter_functions; None if the kernel does not say."""
    if functions is None:
        return None
    needle = name.encode()
    if functions.startswith((needle + b"\n", needle + b" [")):
        return True
    # A module's function is followed by the module's name in brackets.
    return b"\n" + needle + b"\n" in functions or b"\n" + needle + b" [" in functions


def blacklisted(name: str, path: Path = Path("/sys/kernel/debug/kprobes/blacklist")) -> bool | None:
    """Return whether kprobes refuse this function; None if debugfs cannot be read."""
    try:
        text = path.read_text()
    except OSError:
        return None
    return re.search(rf"\t{re.escape(name)}$", text, re.M) is not None


def gfp_names(event_format: str) -> dict[str, int]:
    """Return the values of single gfp flags by name, from the format text of kmem:mm_page_alloc.

    The bits move between kernels and configurations (include/linux/gfp_types.h),
    and in this text the kernel itself writes them down.
    """
    names: dict[str, int] = {}
    for expression, name in re.findall(r'\{\s*(.*?),\s*"(\w+)"\s*\}', event_format):
        if not name.startswith("__GFP_"):
            continue
        value = _constant(expression)
        if value is not None and value.bit_count() == 1:
            names[name] = value
    return names


def _constant(expression: str) -> int | None:
    """Return the value of a C integer expression; None if it is not one.

    It may be made of literals, casts, |, &, ~, << and parentheses.
    """
    text = re.sub(r"\(\s*(?:unsigned\s+long|unsigned|gfp_t|(?:__force\s+)?\w*gfp_t)\s*\)", "", expression)
    text = re.sub(r"\b(0[xX][0-9a-fA-F]+|\d+)[uUlL]*\b", r"\1", text)
    try:
        return _evaluate(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError):
        return None


def _evaluate(node: ast.expr) -> int:
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Invert):
        return ~_evaluate(node.operand)
    if isinstance(node, ast.BinOp):
        left, right = _evaluate(node.left), _evaluate(node.right)
        if isinstance(node.op, ast.BitOr):
            return left | right
        if isinstance(node.op, ast.BitAnd):
            return left & right
        if isinstance(node.op, ast.LShift):
            return left << right
    raise ValueError("not a constant expression")
