# SPDX-License-Identifier: Apache-2.0
"""What is said of an output that cannot be written, and what to do instead."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from memtrace.errors import MemtraceError
from memtrace.traces.given import is_there


def busy(path: Path, option: str) -> MemtraceError:
    """Of an output that another process has locked."""
    return MemtraceError(
        f"another process is writing {path}; wait until it ends, or give another name with {option}"
    )


def not_a_file(path: Path, found: os.stat_result, option: str) -> MemtraceError:
    """Of a path at which there is something else than a regular file."""
    if stat.S_ISLNK(found.st_mode):
        return MemtraceError(
            f"{path} is a symbolic link, which is not followed; "
            f"remove it, or give the name of the file itself with {option}"
        )
    kind = "a folder" if stat.S_ISDIR(found.st_mode) else "not a regular file"
    return MemtraceError(f"{path} is {kind}; give the name of a file to write with {option}")


def cannot_write(path: Path, error: OSError, option: str = "-o") -> MemtraceError:
    """Of an output that the kernel refuses to make or to write to."""
    another = f"give another output with {option}"
    if error.errno == errno.ENOENT and is_there(path.parent):
        # Some file systems, /proc among them, refuse new files so.
        return MemtraceError(f"no file can be made in {path.parent}; {another}")
    denied = f"{path} may not be written by you; {another}"
    advice = {
        errno.EEXIST: f"{path} exists; add -f to overwrite it, or give another name with {option}",
        errno.ENOENT: f"{path.parent} does not exist; make it, or {another}",
        errno.ENOTDIR: f"{path.parent} is not a folder; {another}",
        errno.ELOOP: f"the way to {path} leads over a symbolic link that is not followed, as another "
        f"user may have planted it; {another}",
        errno.EACCES: denied,
        errno.EPERM: denied,
        errno.EROFS: f"{path} is on a read-only file system; {another}",
        errno.ENAMETOOLONG: f"the name of the output is too long; give a shorter one with {option}",
    }
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    advice_else = "free some space" if full else "see the kernel log"
    message = f"cannot write {path} ({error.strerror}); {advice_else} or {another}"
    return MemtraceError(advice.get(error.errno or 0, message))
