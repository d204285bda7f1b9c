# SPDX-License-Identifier: Apache-2.0
"""Which versions are taken: the pinned ones, else the newest on offer, else what is in the cache."""

import logging
from pathlib import Path

import pytest

from memtrace.errors import MemtraceError
from memtrace.lab import apt, cache, pins, stock
from memtrace.lab.apt import Offer
from memtrace.lab.debian import Package
from memtrace.lab.stock import Packages

PIN, KIND = "debian-6.1", "kernels/debian-6.1"
SPLIT = "dracut, linux-base-{0} (= {1}), linux-binary-{0} (= {1}), linux-modules-{0} (= {1})"


def image(name: str, version: str, depends: str = "kmod, linux-base (>= 4.3~)") -> Offer:
    return Offer(Package(name, version, f"hash-of-{name}_{version}"), depends)


def split(release: str, version: str, without: str = "") -> list[Offer]:
    """An empty linux-image and what it is split into."""
    names = [f"linux-{part}-{release}" for part in ("base", "binary", "modules") if part != without]
    empty = image(f"linux-image-{release}", version, SPLIT.format(release, version))
    return [empty, *(image(name, version) for name in names)]


OLD, NEW = (image(f"linux-image-6.1.0-{n}-amd64", f"6.1.{v}-1") for n, v in ((9, 90), (47, 170)))


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Offer]:
    """What the lists offer, to be changed by the test; OLD is pinned, and nothing is in the cache."""
    offers: list[Offer] = []
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(pins, "LIST", tmp_path / "site/lab/pins.txt")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    pins.write({PIN: (OLD.package,)}, pins.LIST)
    monkeypatch.setattr(apt, "refresh", lambda: None)
    monkeypatch.setattr(apt, "refresh_if_older", lambda age_s: None)
    monkeypatch.setattr(apt, "known", lambda pattern: list(offers))
    return offers


def build(packages: Packages, folder: Path) -> None:
    (folder / "version").write_text(packages[0].version)


def made() -> str:
    return (stock.entry(KIND, PIN, build) / "version").read_text()


@pytest.mark.parametrize(
    ("offers", "pattern", "names"),
    [
        ([NEW, OLD, image("linux-image-6.1.0-50-rt-amd64", "6.1.180-1")], stock.SERIES[PIN],
         ["linux-image-6.1.0-47-amd64"]),
        ([image("linux-source-6.12", v) for v in ("6.12.95-1~bpo12+1", "6.12.117-1~deb12u1", "6.12.9-1")],
         stock.SERIES["accept-6.12"], ["linux-source-6.12"]),
        (split("7.3.4+deb13-amd64", "7.3.4-1~bpo13+1") + split("7.3.3+deb13-amd64", "7.3.3-1~bpo13+1"),
         stock.SERIES["debian-7.3"],
         [f"linux-{part}-7.3.4+deb13-amd64" for part in ("base", "binary", "modules")]),
        # The mirror is being filled: not all of the newest is there.
        (split("7.3.10+deb13-amd64", "7.3.10-1", without="modules") + split("7.3.9+deb13-amd64", "7.3.9-1"),
         stock.SERIES["debian-7.3"],
         [f"linux-{part}-7.3.9+deb13-amd64" for part in ("base", "binary", "modules")]),
    ],
)  # fmt: skip
def test_the_newest_of_a_series(offers: list[Offer], pattern: str, names: list[str]) -> None:
    found = stock.newest(pattern, offers)
    assert found is not None
    assert [package.name for package in found] == names


def test_of_one_name_the_newest_version() -> None:
    offers = [image("busybox-static", version) for version in ("1:1.9.0-1", "1:1.35.0-4", "1:1.35.0-4~rc1")]
    assert stock.newest("busybox-static", offers) == (offers[1].package,)


@pytest.mark.parametrize("offers", [[], split("7.3.4+deb13-amd64", "7.3.4-1", without="binary")])
def test_a_series_of_which_nothing_is_whole(offers: list[Offer]) -> None:
    assert stock.newest(stock.SERIES["debian-7.3"], offers) is None


def test_a_pinned_version_is_taken_though_there_is_a_newer_one(mirror: list[Offer]) -> None:
    mirror += [NEW, OLD]
    assert made() == OLD.package.version


def test_of_another_file_under_the_pinned_version_nothing_is_trusted(mirror: list[Offer]) -> None:
    name, version = OLD.package.name, OLD.package.version
    mirror += [Offer(Package(name, version, "another-hash"), ""), NEW]
    assert made() == NEW.package.version


def test_where_the_mirror_has_it_no_more_the_newest_is_taken_and_said(
    mirror: list[Offer], caplog: pytest.LogCaptureFixture
) -> None:
    mirror.append(NEW)
    with caplog.at_level(logging.INFO):
        assert made() == NEW.package.version
    assert (
        "debian-6.1: the mirror no longer has linux-image-6.1.0-9-amd64 6.1.90-1; "
        "its series' newest, linux-image-6.1.0-47-amd64 6.1.170-1, is taken"
    ) in caplog.messages


def test_what_is_in_the_cache_needs_no_apt(mirror: list[Offer], monkeypatch: pytest.MonkeyPatch) -> None:
    mirror.append(OLD)
    made()

    def no_apt(*given: object) -> None:
        raise AssertionError("apt was run")

    for name in ("refresh", "refresh_if_older", "known"):
        monkeypatch.setattr(apt, name, no_apt)
    assert made() == OLD.package.version
    assert stock.prepared(KIND, PIN) == cache.newest(KIND)


def test_without_the_network_what_an_earlier_day_has_made_is_taken(
    mirror: list[Offer], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    mirror.append(OLD)
    made()
    mirror.clear()
    pins.write({PIN: (NEW.package,)}, pins.LIST)
    monkeypatch.setattr(apt, "refresh_if_older", lambda age_s: "apt-get failed: no network")
    with caplog.at_level(logging.INFO):
        assert made() == OLD.package.version
    assert "no network; what was prepared earlier is taken" in caplog.text


def test_without_the_network_and_with_nothing_made_the_reason_is_told(
    mirror: list[Offer], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MemtraceError, match=r"debian-6.1 can be fetched: the mirror .* does not have it"):
        made()
    monkeypatch.setattr(apt, "refresh_if_older", lambda age_s: "apt-get failed: no network")
    with pytest.raises(MemtraceError, match=r"debian-6.1 can be fetched: apt-get failed: no network"):
        made()


def test_an_input_that_changed_makes_another_entry(mirror: list[Offer], tmp_path: Path) -> None:
    mirror.append(OLD)
    patch = tmp_path / "patch"
    patch.write_text("one")
    first = stock.entry(KIND, PIN, build, patch)
    patch.write_text("two")
    assert stock.entry(KIND, PIN, build, patch) != first


def test_a_pin_is_moved_to_the_newest(mirror: list[Offer]) -> None:
    mirror += [OLD, NEW]
    assert stock.update_pins() == {PIN: ((OLD.package,), (NEW.package,))}
    assert pins.read() == {PIN: (NEW.package,)}
    assert stock.update_pins() == {}


def test_what_the_lists_do_not_know_keeps_its_pin(mirror: list[Offer]) -> None:
    mirror.append(image("linux-source-6.12", "6.12.117-1"))
    assert list(stock.update_pins()) == ["accept-6.12"]
    assert pins.read()[PIN] == (OLD.package,)
