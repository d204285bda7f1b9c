# SPDX-License-Identifier: Apache-2.0
"""What a boot of a series leaves beside its run file: the workload's words and files.

The guest's root decides what is in the folder that it shares with the host, so nothing
there is followed, opened blindly or left with rights that it should not have.
"""

from __future__ import annotations

import os
import shutil
import signal
import stat
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from memtrace import safe
from memtrace.errors import MemtraceError
from memtrace.traces.names import decoded
from memtrace.traces.output import MODE, settle

RUN, STDOUT, STDERR, KNOWN, FILES = "run.parquet", "stdout", "stderr", "known.json", "files"
"""Names in the shared folder."""
BESIDE = {STDOUT: ".out", STDERR: ".err", KNOWN: ".known.json"}
"""The suffix of each where it is kept; the folder FILES gets `.files`."""
LAST_LINES = 12
LAST_BYTES = 8192
LINE = 200
_KINDS = {
    stat.S_IFLNK: "symbolic link",
    stat.S_IFIFO: "FIFO",
    stat.S_IFSOCK: "socket",
    stat.S_IFBLK: "device",
    stat.S_IFCHR: "device",
}


@dataclass(frozen=True)
class Kept:
    """What stands beside a run now.

    words    files with what the workload printed, by stream; a stream without a word has none
    left_out the kinds of files in $RESULTS that are not taken, with their number
    """

    words: dict[str, Path]
    left_out: dict[str, int]

    @property
    def note(self) -> str:
        """A sentence about what was left out; "" where all was taken."""
        if not self.left_out:
            return ""
        what = ", ".join(f"{number} {kind}{'s' * (number > 1)}" for kind, number in self.left_out.items())
        return f"of $RESULTS only files and folders are kept, not {what}"


def keep(scratch: Path, final: Path) -> Kept:
    """Move what the guest left in ``scratch`` beside the run file ``final``, but not the run itself.

    What an earlier try left there is replaced.  Raises OSError.
    """
    words: dict[str, Path] = {}
    for name, suffix in BESIDE.items():
        source, target = scratch / name, final.with_suffix(suffix)
        target.unlink(missing_ok=True)
        if _is_file(source) and source.lstat().st_size:
            _give(source)
            source.replace(target)
            words |= {} if name == KNOWN else {name: target}
    left_out: Counter[str] = Counter()
    files, target = scratch / FILES, final.with_suffix(".files")
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    if files.is_dir() and not files.is_symlink():
        _clean(files, left_out)
        if any(files.iterdir()):
            files.replace(target)
    return Kept(words, dict(left_out))


def take_run(scratch: Path, final: Path) -> None:
    """Give the run file its place; raises MemtraceError where the guest left none."""
    source = scratch / RUN
    if not _is_file(source):
        raise MemtraceError(f"the guest left no run file for {final}: its $LAB is not to be touched")
    _give(source)
    source.replace(final)


def last_words(kept: Kept, said: str) -> str:
    """What the workload printed at last, on which stream, and where all of it is.

    said  what the guest's own script printed, which is in none of the files
    """
    parts = [f"{name}, all of it in {path}:\n{_last_lines(path)}" for name, path in kept.words.items()]
    if said.strip():
        parts.append(f"its console:\n{_indented(said)}")
    return "\n".join(f"last words on {part}" for part in parts) if parts else "it printed nothing"


def how_it_ended(status: int) -> str:
    """The exit status, and the signal that a shell means by one above 128."""
    try:
        return f"status {status} ({signal.Signals(status - 128).name})"
    except ValueError:
        return f"status {status}"


def _clean(folder: Path, left_out: Counter[str]) -> None:
    """Remove all that is neither file nor folder, and the rights that files of root's may have."""
    folders = [folder]
    while folders:
        above = folders.pop()
        above.chmod(0o700)
        for path in list(above.iterdir()):
            mode = path.lstat().st_mode
            if stat.S_ISDIR(mode):
                folders.append(path)
            elif stat.S_ISREG(mode):
                _give(path, 0o700 if mode & 0o111 else MODE)
            else:
                left_out[_KINDS.get(stat.S_IFMT(mode), "other file")] += 1
                path.unlink()
        _give(above, 0o700)


def _give(path: Path, mode: int = MODE) -> None:
    """Make a file or folder the user's, like all that is written for them; nobody else may read it."""
    path.chmod(mode)
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        settle(fd, mode)
    finally:
        os.close(fd)


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def _last_lines(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - LAST_BYTES, 0))
        return _indented(decoded(file.read()))


def _indented(text: str) -> str:
    """The last lines that are not empty, without what a terminal would take for a command."""
    lines = [line.expandtabs().rstrip()[:LINE] for line in text.split("\n") if line.strip()]
    return "\n".join(f"  {safe.terminal(line)}" for line in lines[-LAST_LINES:])
