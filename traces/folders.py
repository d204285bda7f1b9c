# SPDX-License-Identifier: Apache-2.0
"""Where an output goes: its folder, opened component by component, and its name in there.

A folder that everybody may write to, such as /tmp, can hold a symbolic link that
somebody else has planted.  The kernel refuses to follow one at the end of a path if
fs.protected_symlinks is set; here none is followed in any part of the path, whatever
that setting is.  The opened folder stays the same one when its path comes to lead
elsewhere, so that nothing can be exchanged between a check and what is done after it.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

_MOST_LINKS = 40
"""As in the kernel (MAXSYMLINKS)."""
_OPEN_TO_ALL = stat.S_ISVTX | stat.S_IWOTH


@dataclass(frozen=True)
class Place:
    """An opened folder and a name in it, which need not exist."""

    folder: int
    """O_PATH descriptor."""
    name: str

    def __enter__(self) -> Place:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of the folder."""
        os.close(self.folder)

    def look(self) -> os.stat_result | None:
        """What the name stands for, a link not followed; None if there is nothing.  Raises OSError."""
        try:
            return os.stat(self.name, dir_fd=self.folder, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def holds(self, fd: int) -> bool:
        """Whether the name stands for the file that ``fd`` is."""
        try:
            found = self.look()
        except OSError:
            return False
        return found is not None and same(found, os.fstat(fd))

    def target(self) -> str | None:
        """Where the name leads, if it is a link that may be followed; None if it is none.

        Raises PermissionError for a link that only others vouch for.
        """
        return _target(self.folder, self.name)

    def also(self, name: str) -> Place:
        """Another name in the same folder."""
        return Place(os.dup(self.folder), name)


def place(path: Path, base: int | None = None) -> Place:
    """Opens the folder of ``path``; a relative one begins at the folder ``base``, or at the current one.

    Raises OSError; ELOOP also stands for a link that somebody else has planted in a
    folder that everybody may write to.
    """
    return Place(_walk(path.parent.parts, base), path.name or ".")


def same(one: os.stat_result, other: os.stat_result) -> bool:
    """Whether both are of one file."""
    return (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)


def others_may_plant(entry: os.stat_result, folder: os.stat_result) -> bool:
    """Whether an entry of a folder that everybody may write to belongs to somebody else.

    The kernel's rule for links (may_follow_link() in fs/namei.c).
    """
    everybody = folder.st_mode & _OPEN_TO_ALL == _OPEN_TO_ALL
    return everybody and entry.st_uid not in (os.geteuid(), folder.st_uid)


def _walk(parts: tuple[str, ...], base: int | None) -> int:
    """An O_PATH descriptor of the folder that the parts lead to."""
    todo = list(reversed(parts))
    at = os.open(".", os.O_PATH | os.O_DIRECTORY) if base is None else os.dup(base)
    links = 0
    try:
        while todo:
            part = todo.pop()
            target = _target(at, part)
            if target is not None:
                links += 1
                if links > _MOST_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), part)
                todo += reversed(Path(target).parts)
                continue
            flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW
            below = os.open(part, flags, dir_fd=at)
            os.close(at)
            at = below
    except BaseException:
        os.close(at)
        raise
    return at


def _target(folder: int, name: str) -> str | None:
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=folder)
    try:
        entry = os.fstat(fd)
        if not stat.S_ISLNK(entry.st_mode):
            return None
        if others_may_plant(entry, os.fstat(folder)):
            raise OSError(errno.ELOOP, "a symbolic link of another user", name)
        return os.readlink("", dir_fd=fd)
    finally:
        os.close(fd)
