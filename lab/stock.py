# SPDX-License-Identifier: Apache-2.0
"""Cache entries made from Debian packages: from the pinned versions wherever there still are some."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from memtrace.errors import MemtraceError
from memtrace.lab import apt, cache, pins
from memtrace.lab.debian import Package, unpack_file, version_key

Packages = tuple[Package, ...]
# Pin -> whole names of the packages among which its newest is chosen.
SERIES = {
    "debian-6.1": r"linux-image-6\.1\.0-\d+-amd64",
    "debian-6.12": r"linux-image-6\.12\.\d+\+(deb12|bpo)-amd64",
    "debian-7.3": r"linux-image-7\.3\.\d+\+deb1[34]-amd64",
    "accept-6.12": r"linux-source-6\.12",
    "accept-7.3": r"linux-source-7\.3",
    "busybox-static": r"busybox-static",
}
# From Linux 6.19 on linux-image-RELEASE is empty and depends on what it once held.
PART = r"(linux-(?:base|binary|modules)-\S+) \(= ([^)]+)\)"
ALL = "|".join([r"linux-(base|binary|modules)-\d\S*", *SERIES.values()])
LOG = logging.getLogger(__name__)


def entry(kind: str, pin: str, build: Callable[[Packages, Path], None], *inputs: Path) -> Path:
    """The cache's folder made by `build(packages, empty folder)` from a pin and other files.

    What is there needs no apt and no network.  Where the mirror no longer has the pinned
    version its series' newest is taken; where nothing can be fetched, what an earlier day has
    made.  Raises MemtraceError where there is neither.
    """
    ready = prepared(kind, pin, *inputs)
    if ready:
        return ready
    try:
        packages = available(pin)
    except MemtraceError as error:
        old = cache.newest(kind)
        if old is None:
            raise
        LOG.info("%s: %s; what was prepared earlier is taken", pin, error)
        return old
    return cache.ensure(kind, _key(packages, inputs), lambda folder: build(packages, folder))


def prepared(kind: str, pin: str, *inputs: Path) -> Path | None:
    """The entry of the pinned version where it is in the cache, None where it is not."""
    packages = pins.read().get(pin)
    return cache.sound(kind, _key(packages, inputs)) if packages else None


def available(pin: str) -> Packages:
    """The pinned packages, or the newest of their series where the mirror has them no more.

    Raises MemtraceError where the lists know neither.
    """
    wanted = pins.read().get(pin, ())
    complaint = apt.refresh_if_older(apt.DAY_S)
    offers = apt.known(ALL)
    if wanted and _offered(wanted, offers):
        return wanted
    found = newest(SERIES[pin], offers)
    if found is None:
        why = complaint or "the mirror of this machine's apt does not have it"
        raise MemtraceError(f"no package for {pin} can be fetched: {why}")
    if wanted:
        LOG.info(
            "%s: the mirror no longer has %s %s; its series' newest, %s %s, is taken",
            *(pin, wanted[0].name, wanted[0].version, found[0].name, found[0].version),
        )
    return found


def newest(pattern: str, offers: Sequence[apt.Offer]) -> Packages | None:
    """The newest of the packages whose whole name matches, with what it is split into.

    None where there is none of which all parts are on offer.
    """
    found = [offer for offer in offers if re.fullmatch(pattern, offer.package.name)]
    by_name = {(offer.package.name, offer.package.version): offer.package for offer in offers}
    for offer in sorted(found, key=_age, reverse=True):
        parts = re.findall(PART, offer.depends)
        if not parts:
            return (offer.package,)
        if all(part in by_name for part in parts):
            return tuple(by_name[part] for part in parts)
    return None


def newest_versions() -> dict[str, Packages | None]:
    """The newest packages of each pin that the lists, as they are now, know."""
    offers = apt.known(ALL)
    return {pin: newest(pattern, offers) for pin, pattern in SERIES.items()}


def update_pins() -> dict[str, tuple[Packages, Packages]]:
    """Move each pin to its series' newest; what has moved, as it was and as it is.

    Raises MemtraceError where the lists cannot be fetched, or the file cannot be written.
    """
    apt.refresh()
    old = pins.read()
    new = {pin: found for pin, found in newest_versions().items() if found}
    moved = {pin: (old.get(pin, ()), found) for pin, found in new.items() if old.get(pin) != found}
    if moved:
        pins.move({**old, **new})
    return moved


def fetch(packages: Iterable[Package], folder: Path) -> None:
    """Download the packages and unpack their files into the folder."""
    for package in packages:
        unpack_file(apt.download(package, folder), folder)


def _offered(wanted: Packages, offers: Sequence[apt.Offer]) -> bool:
    return set(wanted) <= {offer.package for offer in offers}


def _age(offer: apt.Offer) -> tuple[object, object]:
    return version_key(offer.package.version), version_key(offer.package.name)


def _key(packages: Packages, inputs: Sequence[Path]) -> str:
    words = [word for package in packages for word in (package.name, package.version, package.sha256)]
    return cache.key_of(*words, *inputs)
