# SPDX-License-Identifier: Apache-2.0
"""The folder of one running guest, and its certain removal.

It holds the script, the files brought in, the console and the script's output.  Its
owner keeps a lock on it; a folder without one belongs to a process that was killed,
and the next guest removes it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from memtrace.lab.cache import cache_root
from memtrace.lab.spec import GuestSpec

PREFIX = "memtrace-lab-"
GUEST_INIT = Path(__file__).resolve().parent / "init" / "guest.sh"
YOUNG_S = 10.0


@contextlib.contextmanager
def job_folder() -> Iterator[Path]:
    """A new folder, locked, removed at the end whatever happens."""
    remove_orphans()
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def remove_orphans() -> None:
    """Remove this user's job folders whose process is gone."""
    for folder in Path(tempfile.gettempdir()).glob(PREFIX + "*"):
        with contextlib.suppress(OSError):
            status = folder.lstat()
            if status.st_uid != os.getuid() or time.time() - status.st_mtime < YOUNG_S:
                continue
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)


def fill(folder: Path, spec: GuestSpec) -> Path:
    """Write what the guest reads; return the part of the folder that it sees."""
    share = folder / "share"
    (share / "files").mkdir(parents=True)
    shutil.copyfile(GUEST_INIT, share / "init")
    (share / "script").write_text(spec.script + "\n")
    (share / "modules").write_text("\n".join(spec.modules))
    (share / "output").touch()
    for file in spec.files:
        shutil.copy(file, share / "files" / file.name)
    return share


def kept_programs() -> Path:
    """Return the folder, made where missing, in which guests keep the BPF programs that they compiled.

    The host loads none of them: a guest could put anything there.
    """
    folder = cache_root() / "guest-programs"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def read(path: Path) -> str:
    """The text of a file that may be missing or hold other bytes than text."""
    try:
        return path.read_bytes().decode(errors="replace").replace("\r\n", "\n")
    except OSError:
        return ""
