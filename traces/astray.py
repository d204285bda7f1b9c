# SPDX-License-Identifier: Apache-2.0
"""What is done with a file that, when it is finished, is not at its path any more."""

from __future__ import annotations

import os
from pathlib import Path

from memtrace.errors import MemtraceError
from memtrace.traces.folders import same
from memtrace.traces.output import OutputFile, create

_MOST_NAMES = 100
_CHUNK = 1 << 30


def check(file: OutputFile) -> None:
    """Raises MemtraceError, which says what became of the file, unless it is at its path.

    One that has no name left is copied to another, which the sentence tells.
    """
    if not file.in_place():
        raise MemtraceError(rescue(file))


def rescue(file: OutputFile) -> str:
    """Saves what has no name any more; says in a sentence what became of the file and where it is now."""
    path = file.path
    if (moved := _name(file.fd)) is not None:
        return f"{path} was moved while it was written; it is whole, as {moved}"
    if file.folder_gone():
        what = f"the folder {path.parent} was removed while {path.name} was written"
    elif os.path.lexists(path):
        what = f"{path} was replaced by another file while it was written"
    else:
        what = f"{path} was deleted while it was written"
    try:
        return f"{what}; its content is saved as {_save(file)}"
    except (MemtraceError, OSError) as error:
        said = error.strerror if isinstance(error, OSError) else str(error)
        return f"{what}, and its content is lost ({said}); record again"


def _name(fd: int) -> str | None:
    """The name that an open file has now; None if it has none, or none that can be found."""
    try:
        name = Path(f"/proc/self/fd/{fd}").readlink()
        return str(name) if same(name.stat(follow_symlinks=False), os.fstat(fd)) else None
    except OSError:
        return None


def _save(file: OutputFile) -> Path:
    """Copies the content to a new file beside the path, or among the temporary files."""
    size = os.fstat(file.fd).st_size
    with _new(file) as copy:
        copied = 0
        while copied < size:
            step = os.sendfile(copy.fd, file.fd, copied, min(size - copied, _CHUNK))
            if not step:
                raise OSError(5, "the file became shorter")
            copied += step
        os.fsync(copy.fd)
        return copy.path


def _new(file: OutputFile) -> OutputFile:
    path = file.path
    # Not /tmp, which is memory on many machines.
    elsewhere = Path(os.environ.get("TMPDIR", "/var/tmp"))
    refused: MemtraceError | None = None
    for folder in (path.parent, elsewhere):
        for number in range(1, _MOST_NAMES):
            name = folder / f"{path.stem}.saved-{number}{path.suffix}"
            if os.path.lexists(name):
                continue
            try:
                return create(name, overwrite=False, mode=file.mode)
            except MemtraceError as error:
                refused = error
                break
    raise refused or MemtraceError(f"no free name beside {path}")
