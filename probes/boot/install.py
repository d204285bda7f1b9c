# SPDX-License-Identifier: Apache-2.0
"""Write the boot kit's files below a root, and remove exactly what was written."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from memtrace.errors import MemtraceError
from memtrace.probes.boot.kit import MARK, KitFile
from memtrace.probes.machine.sources import Root, under

RECORD = "/var/lib/memtrace/boot-kit.json"
"""Record of what was installed: the files with their digests, and the folders made for them."""


@dataclass(frozen=True)
class _Record:
    files: dict[str, str | None]
    """Digest of each file, by path."""
    folders: tuple[str, ...]


@dataclass(frozen=True)
class Removal:
    """What --remove did."""

    removed: tuple[str, ...]
    kept: tuple[tuple[str, str], ...]
    """Paths that were left, each with the reason."""


def install(files: Sequence[KitFile], root: Root = "/") -> tuple[str, ...]:
    """Write the files, and the record of them last; return their paths.

    Installing again writes them anew.  Raises MemtraceError if a file is there that is
    not ours, before anything is written, or if a file cannot be written.
    """
    before = _record(root)
    for file in files:
        if foreign(under(root, file.path), file):
            raise MemtraceError(f"{file.path} exists and is not memtrace's: move it away, then install again")
    made = list(before.folders)
    try:
        for file in files:
            made += _folders(root, file.path)
            _write(under(root, file.path), file)
        made += _folders(root, RECORD)
        stale = [path for path in before.files if path not in {file.path for file in files}]
        for path in stale:
            _unlink(under(root, path))
        digests = {file.path: _digest(under(root, file.path)) for file in files}
        text = json.dumps({"files": digests, "folders": made}, indent=1) + "\n"
        under(root, RECORD).write_text(text)
    except OSError as error:
        where = f"/{os.path.relpath(error.filename, root)}" if error.filename else "a file"
        raise MemtraceError(
            f"cannot write {where} ({error.strerror}): run it as root, or with --root DIR"
        ) from error
    return tuple(file.path for file in files)


def remove(root: Root = "/") -> Removal:
    """Remove the files that ``install`` wrote and nobody changed since, then its empty folders.

    Does nothing where nothing is installed.  Raises MemtraceError if a file cannot be removed.
    """
    record = _record(root)
    removed: list[str] = []
    kept: list[tuple[str, str]] = []
    try:
        for path, digest in record.files.items():
            found = _digest(under(root, path))
            if found is None:
                continue
            if found != digest:
                kept.append((path, "changed since it was installed"))
                continue
            _unlink(under(root, path))
            removed.append(path)
        if not kept:
            _unlink(under(root, RECORD))
        for folder in sorted(record.folders, key=len, reverse=True):
            with contextlib.suppress(OSError):
                under(root, folder).rmdir()
    except OSError as error:
        where = f"/{os.path.relpath(error.filename, root)}" if error.filename else "a file"
        raise MemtraceError(f"cannot remove {where} ({error.strerror}): run it as root") from error
    return Removal(tuple(removed), tuple(kept))


def foreign(path: Path, file: KitFile) -> bool:
    """Return whether something exists at ``path`` that this kit did not write."""
    if path.is_symlink():
        return file.target is None or str(path.readlink()) != file.target
    if not path.exists():
        return False
    if file.target is not None or not path.is_file():
        return True
    return MARK not in path.read_text(errors="replace")


def _record(root: Root) -> _Record:
    try:
        found = json.loads(under(root, RECORD).read_text())
        return _Record(dict(found["files"]), tuple(found["folders"]))
    except FileNotFoundError:
        return _Record({}, ())
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MemtraceError(f"{RECORD} cannot be read ({error}): remove the kit's files by hand") from error


def _folders(root: Root, path: str) -> list[str]:
    """Make the missing folders above ``path`` and return them, outermost first."""
    missing = [str(p) for p in reversed(Path(path).parents) if not under(root, str(p)).exists()]
    for folder in missing:
        under(root, folder).mkdir(exist_ok=True)
    return missing


def _write(path: Path, file: KitFile) -> None:
    temporary = path.with_name(f".{path.name}.memtrace")
    temporary.unlink(missing_ok=True)
    if file.target is not None:
        temporary.symlink_to(file.target)
    else:
        temporary.write_text(file.text)
        temporary.chmod(0o755 if file.executable else 0o644)
    temporary.rename(path)


def _digest(path: Path) -> str | None:
    """Return the SHA-256 of a file's content, or ``link:`` and a link's target; None if nothing exists."""
    if path.is_symlink():
        return f"link:{path.readlink()}"
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return None


def _unlink(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
