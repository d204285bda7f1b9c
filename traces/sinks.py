# SPDX-License-Identifier: Apache-2.0
"""Outputs that are no files: /dev/null, a terminal, a FIFO, /dev/stdout, /dev/fd/N of the shell."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from memtrace.errors import MemtraceError
from memtrace.traces.folders import Place, others_may_plant, place, same

_MOST_LINKS = 8
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def sink(path: Path, option: str) -> int | None:
    """A descriptor to write to, if ``path`` is an output of this kind; None if a file belongs there.

    Raises OSError, and MemtraceError for one that another user may have planted.
    """
    where = place(path)
    try:
        for _ in range(_MOST_LINKS):
            if (number := _descriptor(where)) is not None:
                return os.dup(number)
            found = where.look()
            if found is None or not stat.S_ISLNK(found.st_mode):
                break
            if not _of_the_system(found, where):
                return None
            before = where
            where = place(Path(before.target() or ""), before.folder)
            before.close()
        if found is None or not (stat.S_ISCHR(found.st_mode) or stat.S_ISFIFO(found.st_mode)):
            return None
        if others_may_plant(found, os.fstat(where.folder)):
            raise MemtraceError(
                f"{path} may have been planted by another user; give another output with {option}"
            )
        return _opened(where, found)
    finally:
        where.close()


def _descriptor(where: Place) -> int | None:
    """The number, if the name is one of this process's own open files."""
    try:
        if same(os.fstat(where.folder), Path("/proc/self/fd").stat()) and where.name.isdecimal():
            return int(where.name)
    except OSError:
        pass
    return None


def _of_the_system(link: os.stat_result, where: Place) -> bool:
    """Whether only root can have made the link, as those in /dev are."""
    folder = os.fstat(where.folder)
    return link.st_uid == 0 and folder.st_uid == 0 and not folder.st_mode & _OTHERS_WRITE


def _opened(where: Place, found: os.stat_result) -> int:
    fd = os.open(where.name, os.O_WRONLY | os.O_NOFOLLOW | os.O_NOCTTY, dir_fd=where.folder)
    if not same(os.fstat(fd), found):
        os.close(fd)
        raise OSError(errno.ESTALE, "it was replaced meanwhile")
    return fd
