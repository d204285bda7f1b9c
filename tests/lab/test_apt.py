# SPDX-License-Identifier: Apache-2.0
"""The lab's own apt, on a mirror made in a folder: real packages, no network."""

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from memtrace.errors import MemtraceError
from memtrace.lab import apt, cache, sources
from memtrace.lab.debian import Package, unpack_file
from memtrace.lab.sources import Source

pytestmark = pytest.mark.skipif(
    any(shutil.which(tool) is None for tool in ("apt-get", "dpkg-deb")), reason="needs apt-get and dpkg-deb"
)
SUITES = (*sources.SUITES, *sources.SECURITY_SUITES)


def publish(root: Path, suite: str, packages: dict[str, Path]) -> None:
    """A suite with these packages ("NAME VERSION" -> .deb), vouched for by nobody."""
    index = root / "dists" / suite / "main/binary-amd64/Packages"
    index.parent.mkdir(parents=True, exist_ok=True)
    index.write_text("".join(map(stanza, packages, packages.values())))
    data = index.read_bytes()
    (root / "dists" / suite / "Release").write_text(
        f"Origin: Debian\nSuite: {suite}\nCodename: {suite}\nArchitectures: amd64\nComponents: main\n"
        f"Date: Thu, 01 Jan 2026 00:00:00 UTC\n"
        f"SHA256:\n {hashlib.sha256(data).hexdigest()} {len(data)} main/binary-amd64/Packages\n"
    )


def stanza(title: str, deb: Path) -> str:
    name, version = title.split()
    digest = hashlib.sha256(deb.read_bytes()).hexdigest()
    return (
        f"Package: {name}\nVersion: {version}\nArchitecture: amd64\nMaintainer: x <x@x>\n"
        f"Depends: linux-base (>= 4.3~)\nDescription: x\n"
        f"Filename: pool/{deb.name}\nSize: {deb.stat().st_size}\nSHA256: {digest}\n\n"
    )


def package(root: Path, name: str, version: str) -> Path:
    tree = root / "tree" / name
    (tree / "DEBIAN").mkdir(parents=True, exist_ok=True)
    (tree / "boot").mkdir(exist_ok=True)
    (tree / "boot" / "vmlinuz").write_text(version)
    control = f"Package: {name}\nVersion: {version}\nArchitecture: amd64\nMaintainer: x <x@x>\n"
    (tree / "DEBIAN/control").write_text(control + "Description: x\n")
    deb = root / "pool" / f"{name}_{version}_amd64.deb"
    deb.parent.mkdir(exist_ok=True)
    subprocess.run(["dpkg-deb", "-b", tree, deb], check=True, capture_output=True)
    return deb


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every suite of the lab, with one kernel in the first."""
    root = tmp_path / "debian"
    root.mkdir()
    for suite in SUITES:
        publish(root, suite, {})
    deb = package(root, "linux-image-6.1.0-9-amd64", "6.1.90-1")
    publish(root, SUITES[0], {"linux-image-6.1.0-9-amd64 6.1.90-1": deb})
    source = Source((f"file:{root}",), ("bookworm",), ("main",), trusted=True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(sources.MIRROR, raising=False)
    monkeypatch.setattr(sources, "machine_sources", lambda: [source])
    return root


def test_a_package_is_found_fetched_and_unpacked(mirror: Path, tmp_path: Path) -> None:
    assert apt.known(".*") == []
    assert apt.lists_age_s() is None
    apt.refresh()
    assert (apt.lists_age_s() or 0) < 3600
    (offer,) = apt.known(r"linux-image-6\.1\.0-\d+-amd64")
    assert (offer.package.name, offer.package.version) == ("linux-image-6.1.0-9-amd64", "6.1.90-1")
    assert offer.depends == "linux-base (>= 4.3~)"
    target = tmp_path / "out"
    target.mkdir()
    unpack_file(apt.download(offer.package, target), target)
    assert (target / "boot/vmlinuz").read_text() == "6.1.90-1"
    assert [path.name for path in target.iterdir()] == ["boot"]


def test_lists_are_fetched_when_they_are_old_or_the_mirror_is_another(
    mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert apt.refresh_if_older(apt.DAY_S) is None
    newer = package(mirror, "linux-image-6.1.0-10-amd64", "6.1.99-1")
    publish(mirror, SUITES[1], {"linux-image-6.1.0-10-amd64 6.1.99-1": newer})
    assert apt.refresh_if_older(apt.DAY_S) is None
    assert len(apt.known("linux-image.*")) == 1
    assert apt.refresh_if_older(0) is None
    assert len(apt.known("linux-image.*")) == 2
    other = tmp_path / "other/debian"
    shutil.copytree(mirror, other)
    publish(other, SUITES[1], {})
    source = Source((f"file:{other}",), ("bookworm",), ("main",), trusted=True)
    monkeypatch.setattr(sources, "machine_sources", lambda: [source])
    assert apt.refresh_if_older(apt.DAY_S) is None
    assert len(apt.known("linux-image.*")) == 1


def test_where_one_suite_is_gone_the_others_are_there(mirror: Path) -> None:
    shutil.rmtree(mirror / "dists" / "forky")
    complaint = apt.refresh_if_older(apt.DAY_S)
    assert complaint is not None and "forky" in complaint
    assert len(apt.known("linux-image.*")) == 1


def test_a_package_that_was_tampered_with_is_refused(mirror: Path, tmp_path: Path) -> None:
    apt.refresh()
    (offer,) = apt.known("linux-image.*")
    deb = next((mirror / "pool").glob("*.deb"))
    deb.write_bytes(deb.read_bytes()[:-1] + b"x")
    with pytest.raises(MemtraceError, match="apt-get failed"):
        apt.download(offer.package, tmp_path)


def test_unsigned_lists_are_refused(mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not any(path.exists() for path in sources.KEYRINGS):
        pytest.skip("there is no keyring of Debian's")
    source = Source((f"file:{mirror}",), ("bookworm",), ("main",))
    monkeypatch.setattr(sources, "machine_sources", lambda: [source])
    assert "not signed" in (apt.refresh_if_older(apt.DAY_S) or "")
    assert apt.known("linux-image.*") == []


def test_a_package_that_is_gone(mirror: Path, tmp_path: Path) -> None:
    apt.refresh()
    with pytest.raises(MemtraceError, match="apt-get failed"):
        apt.download(Package("linux-image-6.1.0-8-amd64", "6.1.80-1", "0"), tmp_path)


def test_a_cache_that_cannot_be_written(mirror: Path) -> None:
    cache.cache_root().parent.mkdir()
    cache.cache_root().write_text("a file in its place")
    assert "cannot write the cache" in (apt.refresh_if_older(apt.DAY_S) or "")
