# SPDX-License-Identifier: Apache-2.0
"""Debian's mirror as this machine's apt knows it: sources.list(5) and deb822 files, read only.

The lab needs suites that the machine may not have, from the mirror that it does have.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from memtrace.errors import MemtraceError

MIRROR = "MEMTRACE_LAB_MIRROR"
ETC = Path("/etc/apt")
KEYRINGS = tuple(Path(f"/usr/share/keyrings/debian-archive-keyring.{end}") for end in ("gpg", "pgp"))
# Where the lab's packages are: those of Debian 12, and newer kernels than it has.
SUITES = ("bookworm", "bookworm-updates", "bookworm-backports", "trixie-backports", "forky")
SECURITY_SUITES = ("bookworm-security",)

RELEASES = "buster|bullseye|bookworm|trixie|forky|duke|sid|oldoldstable|oldstable|stable|testing|unstable"
MAIN_SUITE = re.compile(rf"(?:{RELEASES})(?:-updates|-backports)?")
SECURITY_SUITE = re.compile(rf"(?:{RELEASES})(?:-security|/updates)")
YES = ("yes", "true", "with", "on", "enable")
NO = ("no", "false", "without", "off", "disable")


@dataclass(frozen=True)
class Source:
    """One source of binary packages: where it is, what is taken of it, what vouches for it."""

    uris: tuple[str, ...]
    suites: tuple[str, ...]
    components: tuple[str, ...]
    signed_by: str = ""
    trusted: bool = False


def machine_sources(etc: Path = ETC) -> list[Source]:
    """All sources of binary packages in /etc/apt; files that cannot be read are passed over."""
    found: list[Source] = []
    parts = sorted((etc / "sources.list.d").glob("*"))
    for path in (etc / "sources.list", *parts):
        reader = {".list": one_line, ".sources": deb822}.get(path.suffix)
        if reader is None:
            continue
        try:
            found += reader(path.read_text(errors="replace"))
        except OSError:
            continue
    return found


def one_line(text: str) -> list[Source]:
    """The sources of a sources.list(5) file: `deb [option=value ...] URI SUITE COMPONENT ...`."""
    found = []
    for line in text.splitlines():
        parsed = re.fullmatch(r"\s*deb\s+(?:\[([^\]]*)\]\s*)?(\S+)\s+(\S+)([^#]*)(?:#.*)?", line)
        if parsed is None or parsed[2].startswith("cdrom:"):
            continue
        options = dict(re.findall(r"([\w-]+)[+-]?=(\S*)", parsed[1] or ""))
        found.append(
            Source(
                uris=(parsed[2],),
                suites=(parsed[3],),
                components=tuple(parsed[4].split()),
                signed_by=options.get("signed-by", "").replace(",", " "),
                trusted=options.get("trusted", "").lower() in YES,
            )
        )
    return found


def deb822(text: str) -> list[Source]:
    """The sources of a deb822 file: stanzas of `Field: value`, continued by indented lines."""
    found = []
    for fields in _stanzas(text):
        uris = tuple(uri for uri in fields.get("uris", "").split() if not uri.startswith("cdrom:"))
        if "deb" not in fields.get("types", "").split() or not uris:
            continue
        if fields.get("enabled", "yes").lower() in NO:
            continue
        key = fields.get("signed-by", "")
        found.append(
            Source(
                uris=uris,
                suites=tuple(fields.get("suites", "").split()),
                components=tuple(fields.get("components", "").split()),
                # A whole key may stand here in place of file names.
                signed_by="" if "BEGIN PGP" in key else key.replace(",", " "),
                trusted=fields.get("trusted", "").lower() in YES,
            )
        )
    return found


def lab_sources(machine: Iterable[Source]) -> str:
    """The lab's own sources as a deb822 file.

    The mirror is the one that the machine's sources name, or $MEMTRACE_LAB_MIRROR.
    Raises MemtraceError where there is none, or nothing that vouches for what it holds.
    """
    machine = list(machine)
    given = os.environ.get(MIRROR)
    main = Source((given,), (), ()) if given else _mirror(machine, MAIN_SUITE)
    if main is None:
        raise MemtraceError(
            f"the apt sources of this machine name no Debian mirror: set {MIRROR} to the URI of one"
        )
    security = _mirror(machine, SECURITY_SUITE)
    stanzas = [_stanza(main, SUITES)]
    if security:
        stanzas.append(_stanza(security, SECURITY_SUITES))
    return "\n".join(stanzas)


def _mirror(machine: list[Source], suite: re.Pattern[str]) -> Source | None:
    """The source that most likely is Debian's own: others publish for Debian's releases too."""
    found = [
        source
        for source in machine
        if "main" in source.components
        and any(map(suite.fullmatch, source.suites))
        and (_has_debian_key(source) or any(map(_named_debian, source.uris)))
    ]
    return min(found, key=lambda source: (not _has_debian_key(source), bool(source.signed_by)), default=None)


def _has_debian_key(source: Source) -> bool:
    return "debian-archive" in source.signed_by


def _named_debian(uri: str) -> bool:
    """Whether a folder of the URI's path is named after Debian, as on its mirrors."""
    path = uri.partition(":")[2].removeprefix("//").partition("/")[2]
    return "debian" in path.lower()


def _stanza(source: Source, suites: tuple[str, ...]) -> str:
    fields = {
        "Types": "deb",
        "URIs": " ".join(source.uris),
        "Suites": " ".join(suites),
        "Components": "main",
        "Architectures": "amd64",
        "Targets": "Packages",
    }
    if source.trusted:
        fields["Trusted"] = "yes"
    else:
        fields["Signed-By"] = " ".join(_keyrings(source))
    return "".join(f"{name}: {value}\n" for name, value in fields.items())


def _keyrings(source: Source) -> list[str]:
    """The keyrings that may vouch for a source: its own, and the one with all of Debian's keys."""
    named = [name for name in source.signed_by.split() if Path(name).is_absolute() and Path(name).exists()]
    whole = [str(path) for path in KEYRINGS if path.exists()][:1]
    if not named and not whole:
        raise MemtraceError(
            f"there is no {KEYRINGS[0]} here to check packages with: install debian-archive-keyring"
        )
    return list(dict.fromkeys(named + whole))


def _stanzas(text: str) -> Iterator[dict[str, str]]:
    fields: dict[str, str] = {}
    name = ""
    for line in [*text.splitlines(), ""]:
        if line.startswith("#"):
            continue
        if not line.strip():
            if fields:
                yield fields
            fields, name = {}, ""
        elif line[0] in " \t":
            if name:
                fields[name] += "\n" + line.strip()
        else:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            fields[name] = value.strip()
