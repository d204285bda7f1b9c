# SPDX-License-Identifier: Apache-2.0
"""Making the output file, and what is said when it cannot be written."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from memtrace.errors import MemtraceError


def refuse_same(output: Path, inputs: Iterable[Path], option: str = "-o") -> None:
    """Raises MemtraceError (exit 2) if writing ``output`` would destroy one of the inputs.

    Links of both kinds lead to the same file.
    """
    for path in inputs:
        if same_file(output, path):
            raise MemtraceError(f"{option} {output} is also an input: give another name", 2)


def same_file(one: Path, other: Path) -> bool:
    """Whether two names are of one file, which need not exist yet."""
    try:
        return one.samefile(other)
    except OSError:
        return os.path.realpath(one) == os.path.realpath(other)


def create(path: Path, overwrite: bool) -> tuple[int, Path | None]:
    """Opens a new file to write; also its name for now, if that is not ``path`` yet.

    Raises MemtraceError if there is one and ``overwrite`` is not set, or it cannot be.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
    try:
        if path.exists() and not stat.S_ISREG(path.stat().st_mode):
            kind = "a folder" if path.is_dir() else "not a regular file"
            raise MemtraceError(f"{path} is {kind}; give the name of a file to write with -o")
        if not overwrite:
            return os.open(path, flags, 0o666), None
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        temporary.unlink(missing_ok=True)
        return os.open(temporary, flags, 0o666), temporary
    except OSError as error:
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: OSError) -> MemtraceError:
    """What is said of an output that cannot be made or written to."""
    if error.errno == errno.ENOENT and path.parent.exists():
        # Some file systems, /proc among them, refuse new files so.
        return MemtraceError(f"no file can be made in {path.parent}; give another output with -o")
    advice = {
        errno.EEXIST: f"{path} exists; add -f to overwrite it, or give another name with -o",
        errno.ENOENT: f"{path.parent} does not exist; make it, or give another output with -o",
        errno.ENOTDIR: f"{path.parent} is not a folder; give another output with -o",
        errno.EACCES: f"{path} may not be written by you; give another output with -o",
        errno.EPERM: f"{path} may not be written by you; give another output with -o",
        errno.EROFS: f"{path} is on a read-only file system; give another output with -o",
        errno.ENAMETOOLONG: "the name of the output is too long; give a shorter one with -o",
    }
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    advice_else = "free some space" if full else "see the kernel log"
    message = f"cannot write {path} ({error.strerror}); {advice_else} or give another output with -o"
    return MemtraceError(advice.get(error.errno or 0, message))
