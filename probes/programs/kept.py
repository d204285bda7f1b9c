# SPDX-License-Identifier: Apache-2.0
"""Compiled programs that are kept: found again by their digest, so that nothing compiles twice.

A file is one line with the SHA-256 of what follows, and the programs as JSON.  They run in
the kernel: only a file that root or the effective user owns, and nobody else can write, in a
folder of which the same is true, is loaded.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import pwd
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from memtrace.errors import MemtraceError
from memtrace.probes.programs.compiled import Compiled
from memtrace.traces.gate import document

FOLDER = "MEMTRACE_PROGRAMS"
"""Environment variable: a folder that is searched first, and in which new ones are kept."""
SYSTEM = Path("/usr/share/memtrace/programs")
MAX_BYTES = 8 << 20
MOST = 128
"""Files that are kept in the user's folder."""
SUFFIX = ".programs"
_LONGEST_LENGTH = 16


def folders() -> tuple[Path, ...]:
    """Return where kept programs are looked for, the folder for new ones last.

    The cache is that of the effective user: under sudo, root's.
    """
    given = os.environ.get(FOLDER)
    if given:
        return (SYSTEM, Path(given))
    try:
        home = Path(pwd.getpwuid(os.geteuid()).pw_dir)
    except KeyError:  # as in containers that run as a number
        home = Path("/")
    return (SYSTEM, home / ".cache" / "memtrace" / "programs")


@dataclass(frozen=True)
class Stored:
    """A file of kept programs: what it holds, or why it would not be loaded."""

    path: Path
    compiled: Compiled | None
    why: str = ""


def stored() -> tuple[Stored, ...]:
    """Return all files of kept programs, folder by folder, the newest first."""
    return tuple(_read(path) for folder in folders() for path in reversed(_by_age(folder)))


def find(digest: str) -> Compiled | None:
    """Return the kept programs with this digest; None if there are none, or none that may be trusted."""
    for folder in folders():
        found = _read(folder / f"{digest}{SUFFIX}").compiled
        if found is not None and found.digest == digest:
            return found
    return None


def keep(compiled: Compiled) -> Path | None:
    """Keep programs for the next time and return their file; None if that is not possible.

    Of more than MOST files the oldest ones are removed.
    """
    folder = folders()[-1]
    path = folder / f"{compiled.digest}{SUFFIX}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(path, encoded(compiled))
    except OSError:
        return None
    for old in _by_age(folder)[:-MOST]:
        with contextlib.suppress(OSError):
            old.unlink()
    return path


def encoded(compiled: Compiled) -> bytes:
    """Return the content of a file of kept programs."""
    body = json.dumps(dataclasses.asdict(compiled), separators=(",", ":")).encode()
    return hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def decoded(data: bytes) -> Compiled:
    """Return the programs in the content of such a file; raises ValueError with what is wrong."""
    total, _, body = data.partition(b"\n")
    if len(data) > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES >> 20} MiB")
    if hashlib.sha256(body).hexdigest().encode() != total:
        raise ValueError("it was cut or edited")
    compiled = document(Compiled, body.decode())
    if not compiled.sound():
        raise ValueError("its parts don't fit together")
    return compiled


def bundled(all_: tuple[Compiled, ...]) -> bytes:
    """Return several as the content of one file: each with its length before it."""
    parts = (encoded(compiled) for compiled in all_)
    return b"".join(b"%d\n%s" % (len(part), part) for part in parts)


def unbundled(path: Path) -> tuple[Compiled, ...]:
    """Return the programs in a file that bundled() filled; raises MemtraceError with what is wrong."""
    found: list[Compiled] = []
    try:
        with open(path, "rb") as file:
            while length := file.readline(_LONGEST_LENGTH):
                if not length.rstrip(b"\n").isdigit() or len(found) == MOST:
                    raise ValueError("it is none" if len(found) < MOST else f"it holds more than {MOST}")
                found.append(decoded(file.read(min(int(length), MAX_BYTES + 1))))
            if not found:
                raise ValueError("it is empty")
    except OSError as error:
        raise MemtraceError(f"{path} can't be read ({error.strerror})") from error
    except ValueError as error:
        raise MemtraceError(
            f"{path} holds no programs that can be kept ({error}): give what `programs export` wrote"
        ) from error
    return tuple(found)


def _by_age(folder: Path) -> list[Path]:
    """Return the files of programs in a folder, the oldest first."""
    try:
        return sorted(folder.glob(f"*{SUFFIX}"), key=lambda path: path.lstat().st_mtime_ns)
    except OSError:
        return []


def _write(path: Path, data: bytes) -> None:
    partial = path.with_name(f".{path.stem}.{secrets.token_hex(8)}")
    fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "wb") as file:
            file.write(data)
        partial.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise


def _read(path: Path) -> Stored:
    try:
        # Opening a FIFO would wait for who writes into it.
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        return Stored(path, None, f"it can't be opened ({error.strerror})")
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            return Stored(path, None, "it is not a regular file")
        if not trusted(status):
            return Stored(path, None, "others own it or can write it")
        if not trusted(path.parent.stat()):
            return Stored(path, None, "others own its folder or can write there")
        with open(fd, "rb", closefd=False) as file:
            return judged(path, file)
    except OSError as error:
        return Stored(path, None, f"it can't be read ({error.strerror})")
    finally:
        os.close(fd)


def judged(path: Path, file: BinaryIO) -> Stored:
    """Read a file of kept programs that is trusted; ``path`` names it in what is returned."""
    try:
        return Stored(path, decoded(file.read(MAX_BYTES + 1)))
    except ValueError as error:
        return Stored(path, None, str(error))


def trusted(status: os.stat_result) -> bool:
    """Return whether root or the effective user owns a file and nobody else can write it."""
    others = stat.S_IWGRP | stat.S_IWOTH
    return status.st_uid in (0, os.geteuid()) and not status.st_mode & others
