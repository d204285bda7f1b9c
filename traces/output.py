# SPDX-License-Identifier: Apache-2.0
"""Files written for the user: how they are made, kept from others, and checked at the end.

Each is made by O_EXCL relative to its opened folder (``folders.py``), readable by its
owner alone, and belongs to the user who called sudo.  One that takes the place of an
earlier file is made beside it and renamed over it.  A symbolic link is never written
through, and never replaced.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from memtrace.errors import MemtraceError
from memtrace.traces.folders import Place, place, same
from memtrace.traces.owner import sudo_user
from memtrace.traces.refusals import busy, cannot_write, not_a_file

MODE = 0o600
_FOLDER_MODE = 0o700
_TRIES = 10


@dataclass
class OutputFile:
    """A new file that is being written.

    Until ``publish`` a file that is to replace another one has a name of its own.
    """

    path: Path
    """Absolute, links in it as they were given."""
    fd: int
    mode: int
    _place: Place
    _temporary: str | None = None
    _replaced: int | None = field(default=None, repr=False)
    """Descriptor of the earlier file, locked."""

    def __enter__(self) -> OutputFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.abandon()
        self.close()

    def publish(self) -> None:
        """Gives the file its name, over an earlier one.  Raises OSError."""
        if self._temporary is not None:
            at = self._place.folder
            os.rename(self._temporary, self._place.name, src_dir_fd=at, dst_dir_fd=at)
            self._temporary = None
        self._release()

    def in_place(self) -> bool:
        """Whether the file at the path is this one."""
        try:
            return same(self.path.stat(follow_symlinks=False), os.fstat(self.fd))
        except OSError:
            return False

    def folder_gone(self) -> bool:
        """Whether the folder that the file was made in has been removed."""
        return os.fstat(self._place.folder).st_nlink == 0

    def successor(self) -> OutputFile:
        """A new file beside this one, which takes its place when published.  Raises OSError."""
        beside = self._place.also(self._place.name)
        try:
            fd, name = _temporary(beside, self.mode)
        except BaseException:
            beside.close()
            raise
        return OutputFile(self.path, fd, self.mode, beside, name)

    def abandon(self) -> None:
        """Removes the file, if it still has its name."""
        at = self._place if self._temporary is None else Place(self._place.folder, self._temporary)
        if at.holds(self.fd):
            with contextlib.suppress(OSError):
                os.unlink(at.name, dir_fd=at.folder)

    def close(self) -> None:
        """Lets go of the file, and of its lock."""
        self._release()
        os.close(self.fd)
        self._place.close()

    def _release(self) -> None:
        if self._replaced is not None:
            os.close(self._replaced)
            self._replaced = None


def create(path: Path, *, overwrite: bool, mode: int = MODE, option: str = "-o") -> OutputFile:
    """Opens a new file to write, locked against other writers of the same path.

    With ``overwrite`` an earlier file stays until ``publish``.  Raises MemtraceError if
    there is one and ``overwrite`` is not set, if another process is writing it, if there
    is something else than a regular file, or if none can be made.
    """
    try:
        where = place(path)
        try:
            return _create(path, where, overwrite, mode, option)
        except BaseException:
            where.close()
            raise
    except OSError as error:
        raise cannot_write(path, error, option) from error


def make_folder(path: Path) -> None:
    """Makes a folder, and those above it, for the user alone.  Raises OSError if it cannot be one."""
    if path.is_dir():
        return
    if path.parent != path:
        make_folder(path.parent)
    with place(path) as where:
        os.mkdir(where.name, _FOLDER_MODE, dir_fd=where.folder)
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
        fd = os.open(where.name, flags, dir_fd=where.folder)
        settle(fd, _FOLDER_MODE)
        os.close(fd)


def write_all(fd: int, data: bytes) -> None:
    """Writes all of it at the file's position.  Raises OSError."""
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]


def _create(path: Path, where: Place, overwrite: bool, mode: int, option: str) -> OutputFile:
    full = path.absolute()
    for _ in range(_TRIES):
        found = where.look()
        if found is not None and not stat.S_ISREG(found.st_mode):
            raise not_a_file(path, found, option)
        if found is None or not overwrite:
            try:
                fd = _exclusive(where, where.name, mode)
            except FileExistsError:
                if overwrite:
                    continue
                raise
            if not _locked(fd):
                os.close(fd)
                raise busy(path, option)
            return OutputFile(full, fd, mode, where)
        old = _earlier(where)
        if old is not None and not _locked(old):
            os.close(old)
            raise busy(path, option)
        if old is not None and not where.holds(old):
            # Another writer has replaced it meanwhile.
            os.close(old)
            continue
        try:
            fd, name = _temporary(where, mode)
        except BaseException:
            if old is not None:
                os.close(old)
            raise
        return OutputFile(full, fd, mode, where, name, old)
    raise busy(path, option)


def _exclusive(where: Place, name: str, mode: int) -> int:
    """Descriptor of a new file with exactly this mode, of the user who called sudo."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    fd = os.open(name, flags, MODE, dir_fd=where.folder)
    settle(fd, mode)
    return fd


def settle(fd: int, mode: int) -> None:
    """Gives what was made its owner and mode; file systems without them have none to give."""
    owner = sudo_user()
    if owner is not None:
        with contextlib.suppress(OSError):
            os.fchown(fd, owner.uid, owner.gid)
    with contextlib.suppress(OSError):
        os.fchmod(fd, mode)


def _temporary(where: Place, mode: int) -> tuple[int, str]:
    while True:
        name = f".memtrace-{secrets.token_hex(6)}.tmp"
        with contextlib.suppress(FileExistsError):
            fd = _exclusive(where, name, mode)
            # A recorder with -f that finds it under its final name must find it locked.
            _locked(fd)
            return fd, name


def _earlier(where: Place) -> int | None:
    """Descriptor of the file to be replaced; None if it cannot be opened, and so not be locked."""
    try:
        return os.open(where.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=where.folder)
    except OSError:
        return None


def _locked(fd: int) -> bool:
    """Locks an open file until it is closed; False if another process has it locked."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        # Not every network file system has locks: what becomes of the file is checked at the end.
        return True
    return True


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
