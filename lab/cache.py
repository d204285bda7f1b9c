# SPDX-License-Identifier: Apache-2.0
"""What was built or downloaded once: folders under the user's cache folder.

An entry is a folder `<kind>/<key>`, where the key is a hash of everything that the
entry was made from, so a change of an input is a new entry.  `seal.json` inside it
holds the size, time and SHA-256 of each file; an entry that no longer matches its
seal is made again.  Of each kind the newest entries are kept, the rest removed.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from memtrace.errors import MemtraceError
from memtrace.lab import progress

SEAL = "seal.json"
LOG = logging.getLogger(__name__)


def cache_root() -> Path:
    """`$XDG_CACHE_HOME/memtrace`, by default `~/.cache/memtrace`; need not exist."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "memtrace"


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content, in hex."""
    with open(path, "rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def key_of(*inputs: str | bytes | Path) -> str:
    """A short hash of texts and of files' contents (a Path stands for its content)."""
    digest = hashlib.sha256()
    for item in inputs:
        data = item.read_bytes() if isinstance(item, Path) else item
        data = data.encode() if isinstance(data, str) else data
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()[:20]


def ensure(kind: str, key: str, build: Callable[[Path], None], kept: int = 2) -> Path:
    """The folder of one entry, made by `build(empty folder)` where there is no sound one.

    One process builds, others wait for it; the `kept` newest entries of the kind stay.
    Raises MemtraceError where the cache
    cannot be written; what a failed build left is removed.
    """
    shelf = cache_root() / kind
    ready = sound(kind, key)
    if ready:
        return ready
    try:
        shelf.mkdir(parents=True, exist_ok=True)
        LOG.info("preparing %s, which is done once", kind)
        with locked(shelf / f".{key}.lock"):
            folder = shelf / key
            if not is_sound(folder):
                _build(shelf, folder, build)
                for old in _entries(shelf)[kept:]:
                    shutil.rmtree(old, ignore_errors=True)
            return folder
    except OSError as error:
        raise refusal(shelf, error) from error


def sound(kind: str, key: str) -> Path | None:
    """The folder of one entry, None where it is missing or no longer what was sealed."""
    folder = cache_root() / kind / key
    if not is_sound(folder):
        return None
    # Of a cache that is shared read-only, the use cannot be noted.
    with contextlib.suppress(OSError):
        os.utime(folder)
    return folder


def refusal(folder: Path, error: OSError) -> MemtraceError:
    """The sentence for a cache folder that cannot be written."""
    return MemtraceError(
        f"cannot write the cache {folder}: {error.strerror or error}; "
        "free space there, or set XDG_CACHE_HOME to another folder"
    )


def newest(kind: str) -> Path | None:
    """The last used sound entry of a kind, None where there is none."""
    for folder in _entries(cache_root() / kind):
        if is_sound(folder):
            return folder
    return None


def is_sound(folder: Path) -> bool:
    """Whether the entry is complete and each file is as it was when it was sealed.

    A file whose size and time are unchanged is taken as unchanged; of the others
    the content is compared.
    """
    try:
        seal = json.loads((folder / SEAL).read_text())
        for name, (size, mtime_ns, digest) in seal.items():
            status = os.lstat(folder / name)
            if status.st_size != size:
                return False
            if status.st_mtime_ns != mtime_ns and file_digest(folder / name) != digest:
                return False
    except (OSError, ValueError, AttributeError, TypeError):
        return False
    return True


def _build(shelf: Path, folder: Path, build: Callable[[Path], None]) -> None:
    partial = shelf / f".partial-{folder.name}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    begun = time.monotonic()
    try:
        build(partial)
        _seal(partial)
        if folder.exists():
            shutil.rmtree(folder)
        partial.rename(folder)
        kind = shelf.relative_to(cache_root())
        LOG.info("%s is prepared, in %s", kind, progress.seconds(time.monotonic() - begun))
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _seal(folder: Path) -> None:
    seal = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            status = path.stat()
            name = str(path.relative_to(folder))
            seal[name] = (status.st_size, status.st_mtime_ns, file_digest(path))
    (folder / SEAL).write_text(json.dumps(seal, indent=0))


def _entries(shelf: Path) -> list[Path]:
    if not shelf.is_dir():
        return []
    folders = [path for path in shelf.iterdir() if path.is_dir() and path.name[0] != "."]
    return sorted(folders, key=lambda path: path.stat().st_mtime, reverse=True)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of this name; wait for another process that holds it."""
    while True:
        with open(path, "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            # Whoever held it may have removed it: then this is nobody's lock.
            if not _is_still(file.fileno(), path):
                continue
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return


def _is_still(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
