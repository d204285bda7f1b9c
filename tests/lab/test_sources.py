# SPDX-License-Identifier: Apache-2.0
"""The mirror in the machine's apt sources, in both forms that they have."""

from pathlib import Path

import pytest

from memtrace.errors import MemtraceError
from memtrace.lab import sources
from memtrace.lab.sources import Source, deb822, lab_sources, one_line

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
MIRROR = Source(("http://mirror.example/debian",), ("bookworm",), ("main",))


@pytest.fixture(autouse=True)
def keyring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv(sources.MIRROR, raising=False)
    path = tmp_path / "debian-archive-keyring.gpg"
    path.touch()
    monkeypatch.setattr(sources, "KEYRINGS", (tmp_path / "missing", path))
    return path


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("deb http://m/debian bookworm main", [Source(("http://m/debian",), ("bookworm",), ("main",))]),
        (
            f"  deb\t[ arch=amd64,i386 signed-by={KEYRING} ] http://m/debian  bookworm main contrib # mine",
            [Source(("http://m/debian",), ("bookworm",), ("main", "contrib"), KEYRING)],
        ),
        (
            "deb [trusted=yes signed-by=/a.gpg,/b.gpg] file:/srv/debian bookworm main",
            [Source(("file:/srv/debian",), ("bookworm",), ("main",), "/a.gpg /b.gpg", True)],
        ),
        ("deb [arch-=i386] http://m/debian ./", [Source(("http://m/debian",), ("./",), ())]),
        ("# deb http://m/debian bookworm main", []),
        ("deb-src http://m/debian bookworm main", []),
        ("deb cdrom:[Debian GNU/Linux 12.0.0 _Bookworm_]/ bookworm main", []),
        ("deb http://m/debian", []),
        ("", []),
    ],
)
def test_one_line_sources(line: str, found: list[Source]) -> None:
    assert one_line(line + "\n") == found


def test_deb822_stanzas() -> None:
    text = f"""\
# Of the installer.
Types: deb deb-src
URIs: http://one/debian
# a comment in between
  http://two/debian cdrom:[Debian]/
Suites: bookworm bookworm-updates
Components:
 main
 non-free-firmware
Signed-By: {KEYRING}

Types: deb-src
URIs: http://one/debian
Suites: bookworm
Components: main


types: deb
uris: http://off/debian
suites: bookworm
components: main
Enabled: no

Types: deb
URIs: http://own/debian
Suites: trixie
Components: main
Trusted: Yes
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mDMEY865UxYJKwYBBAHaRw8BAQdAd7Z0srwuhlB6JKFkcf4HU4SSS/xcRfwEQWzr
 -----END PGP PUBLIC KEY BLOCK-----
"""
    assert deb822(text) == [
        Source(
            ("http://one/debian", "http://two/debian"),
            ("bookworm", "bookworm-updates"),
            ("main", "non-free-firmware"),
            KEYRING,
        ),
        Source(("http://own/debian",), ("trixie",), ("main",), "", True),
    ]


def test_the_machine_s_files_are_all_read(tmp_path: Path) -> None:
    etc = tmp_path / "apt"
    (etc / "sources.list.d").mkdir(parents=True)
    (etc / "sources.list").write_text("deb http://a/debian bookworm main\n")
    (etc / "sources.list.d" / "b.list").write_text("deb http://b/debian bookworm main\n")
    (etc / "sources.list.d" / "c.sources").write_text(
        "Types: deb\nURIs: http://c/debian\nSuites: sid\nComponents: main\n"
    )
    (etc / "sources.list.d" / "d.list.save").write_text("deb http://d/debian bookworm main\n")
    (etc / "sources.list.d" / "e.list").mkdir()
    assert [source.uris[0] for source in sources.machine_sources(etc)] == [
        "http://a/debian", "http://b/debian", "http://c/debian",
    ]  # fmt: skip
    assert sources.machine_sources(tmp_path / "none") == []


def test_the_lab_s_sources_are_of_the_machine_s_mirrors(keyring: Path) -> None:
    text = lab_sources(
        [
            Source(("http://other/debian",), ("bookworm",), ("main",), "/etc/apt/keyrings/other.gpg"),
            Source(("http://other/repo",), ("bookworm",), ("main",)),
            MIRROR,
            Source(("http://safe.example/debian-security",), ("bookworm-security",), ("main",), KEYRING),
        ]
    )
    main, security = deb822(text)
    assert main == Source(MIRROR.uris, sources.SUITES, ("main",), str(keyring))
    assert security.uris == ("http://safe.example/debian-security",)
    assert security.suites == ("bookworm-security",)
    assert {"bookworm", "trixie-backports", "forky"} <= set(main.suites)
    assert text.count("Targets: Packages\n") == 2


@pytest.mark.parametrize(
    ("machine", "uri"),
    [
        # An older and a newer Debian have the same mirror.
        ([Source(("http://m/debian/",), ("bullseye",), ("main",))], "http://m/debian/"),
        ([Source(("mirror+file:/etc/apt/mirrors/debian.list",), ("trixie",), ("main",), KEYRING)],
         "mirror+file:/etc/apt/mirrors/debian.list"),
        ([Source(("http://corp/remote/debian-all/pool1",), ("stable",), ("main",))],
         "http://corp/remote/debian-all/pool1"),
        # The one with Debian's key goes first, whatever its address.
        ([MIRROR, Source(("http://corp/x",), ("bookworm",), ("main",), KEYRING)], "http://corp/x"),
    ],
)  # fmt: skip
def test_the_mirror_that_is_taken(machine: list[Source], uri: str) -> None:
    assert deb822(lab_sources(machine))[0].uris == (uri,)


@pytest.mark.parametrize(
    "other",
    [
        Source(("http://archive.ubuntu.example/ubuntu",), ("noble",), ("main",)),
        Source(("http://debian.example/php",), ("bookworm",), ("main",)),
        Source(("http://m/linux/debian",), ("bookworm",), ("stable",)),
        Source(("http://m/debian",), ("bookworm-pgdg",), ("main",)),
    ],
)
def test_without_a_mirror_it_is_asked_for(
    other: Source, keyring: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MemtraceError, match="set MEMTRACE_LAB_MIRROR to the URI"):
        lab_sources([other])
    monkeypatch.setenv(sources.MIRROR, "http://mine/debian")
    (found,) = deb822(lab_sources([other]))
    assert (found.uris, found.signed_by) == (("http://mine/debian",), str(keyring))


def test_without_a_keyring_it_is_named(keyring: Path) -> None:
    keyring.unlink()
    with pytest.raises(MemtraceError, match="install debian-archive-keyring"):
        lab_sources([MIRROR])
