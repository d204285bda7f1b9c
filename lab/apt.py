# SPDX-License-Identifier: Apache-2.0
"""An apt of the lab's own: its sources, lists and cache are in the lab's cache folder.

The machine's lists, sources and state are not touched, and need not be there.  Its other
settings (proxies, say) hold, but for the hooks that run after an update.  apt checks each list
by the keyring of its source, and each package by its list.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from memtrace.errors import MemtraceError
from memtrace.lab import cache, progress, sources
from memtrace.lab.debian import Package
from memtrace.lab.run import run_tool

DAY_S = 24 * 3600.0


@dataclass(frozen=True)
class Offer:
    """A package that the lists hold, and its Depends field."""

    package: Package
    depends: str


CONFIG = """\
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear APT::Architectures;
Acquire::Languages "none";
Acquire::PDiffs "false";
Acquire::Retries "1";
Acquire::http::Timeout "20";
Acquire::https::Timeout "20";
APT::Architecture "amd64";
APT::Architectures { "amd64"; };
APT::Sandbox::User "root";
APT::Update::Error-Mode "any";
Dir::Cache "FOLDER/cache";
Dir::Cache::pkgcache "pkgcache.bin";
Dir::Cache::srcpkgcache "";
Dir::Etc::SourceList "FOLDER/lab.sources";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Dir::State "FOLDER/state";
Dir::State::Lists "FOLDER/lists";
Dir::State::Status "FOLDER/status";
"""


def folder() -> Path:
    """The folder of the lab's apt in the cache; need not exist."""
    return cache.cache_root() / "apt"


def lists_age_s() -> float | None:
    """Seconds since the lists were last fetched, None where they never were."""
    try:
        return time.time() - _stamp().stat().st_mtime
    except OSError:
        return None


def refresh() -> None:
    """Fetch the lists anew.

    Raises MemtraceError with apt's complaint where not all could be fetched; those that
    could, and older ones of the others, are there nevertheless.
    """
    files = _configuration()
    with _locked():
        try:
            _configure(files)
        except OSError as error:
            raise cache.refusal(folder(), error) from error
        try:
            with progress.step("fetching the lists of Debian's packages"):
                _run("apt-get", "-q", "update")
        except MemtraceError as error:
            if "NO_PUBKEY" in str(error):
                raise MemtraceError(f"{error}; upgrade the package debian-archive-keyring") from error
            raise
        _stamp().touch()


def refresh_if_older(age_s: float) -> str | None:
    """Fetch the lists where there are none or older ones, or the machine's mirror is another.

    Returns the complaint where that failed, None where they are good.
    """
    try:
        known = lists_age_s()
        if known is None or known > age_s or not _is_current():
            refresh()
    except MemtraceError as error:
        return str(error)
    return None


def known(pattern: str) -> list[Offer]:
    """The packages whose whole name matches the expression, each of their versions.

    Empty where there are no lists, or no such package in them.
    """
    if not (folder() / "apt.conf").exists():
        return []
    with _locked():
        names = sorted(filter(re.compile(pattern).fullmatch, _run("apt-cache", "pkgnames").decode().split()))
        text = _run("apt-cache", "show", *names).decode() if names else ""
    return list(_parse(text))


def download(package: Package, into: Path) -> Path:
    """Download the package into the folder; apt checks its hash. Returns the .deb file."""
    wanted = f"{package.name}={package.version}"
    # 'ADDRESS' NAME SIZE HASH
    uris = _run("apt-get", "-qq", "download", "--print-uris", wanted, cwd=into).decode().split()
    size = int(uris[2]) if len(uris) > 2 and uris[2].isdigit() else None
    with progress.download(package.name, into, size):
        _run("apt-get", "-qq", "download", wanted, cwd=into)
    found = list(into.glob(f"{package.name}_*.deb"))
    if not found:
        raise MemtraceError(f"apt-get download {package.name} left no file: is the disk full?")
    return found[0]


def _parse(text: str) -> Iterator[Offer]:
    for stanza in text.split("\n\n"):
        fields = dict(re.findall(r"^(Package|Version|SHA256|Depends): (.+)$", stanza, re.MULTILINE))
        if {"Package", "Version", "SHA256"} <= fields.keys():
            package = Package(fields["Package"], fields["Version"], fields["SHA256"])
            yield Offer(package, fields.get("Depends", ""))


def _configure(files: dict[str, str]) -> None:
    for name in ("cache/archives/partial", "state", "lists/partial"):
        (folder() / name).mkdir(parents=True, exist_ok=True)
    (folder() / "status").touch()
    for name, text in files.items():
        (folder() / name).write_text(text)


def _configuration() -> dict[str, str]:
    """The text of each file that apt is told by."""
    return {
        "apt.conf": CONFIG.replace("FOLDER", str(folder())),
        "lab.sources": sources.lab_sources(sources.machine_sources()),
    }


def _is_current() -> bool:
    try:
        return all((folder() / name).read_text() == text for name, text in _configuration().items())
    except OSError:
        return False


def _run(tool: str, *arguments: str, cwd: Path | None = None) -> bytes:
    return run_tool(tool, "-c", folder() / "apt.conf", *arguments, cwd=cwd)


def _stamp() -> Path:
    return folder() / "fetched"


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    """One at a time: apt itself refuses a second one instead of waiting for the first."""
    with contextlib.ExitStack() as held:
        try:
            folder().mkdir(parents=True, exist_ok=True)
            held.enter_context(cache.locked(folder() / "lock"))
        except OSError as error:
            raise cache.refusal(folder(), error) from error
        yield
