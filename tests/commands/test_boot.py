# SPDX-License-Identifier: Apache-2.0
"""`memtrace boot`: what it prints, writes and refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from memtrace.commands.boot import boot
from memtrace.errors import MemtraceError


def run(*words: str) -> str:
    done = CliRunner().invoke(boot, words, catch_exceptions=True)
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0
    return done.output


def test_prepare_prints_and_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "etc/systemd/system").mkdir(parents=True)
    found = run("prepare", "--root", str(tmp_path))
    for title in ("Functions", "Unseen even so", "Where it goes", "Files that --install writes"):
        assert f"\n{title}\n" in found
    # A kernel parameter cannot be broken over lines.
    assert max(len(text) for text in found.splitlines() if "ftrace_filter=" not in text) < 80
    assert [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if not p.is_dir()] == []


def test_the_line_is_what_the_page_shows(tmp_path: Path) -> None:
    line = run("prepare", "--line").split()
    assert set(line) <= set(run("prepare").split())


def test_install_and_remove_say_what_they_did_and_what_is_left_to_do(tmp_path: Path) -> None:
    for path in ("etc/default/grub", "usr/sbin/update-grub", "etc/systemd/system/x"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("")
    root = ("--root", str(tmp_path))
    found = run("prepare", "--install", *root, "--memtrace", "/usr/bin/memtrace", "-d", "9")
    assert "wrote /etc/default/grub.d/memtrace.cfg" in found and "run: update-grub" in found
    unit = (tmp_path / "etc/systemd/system/memtrace-boot.service").read_text()
    assert "ExecStart=/usr/bin/memtrace record " in unit and " -d 9\n" in unit
    assert "removed /etc/default/grub.d/memtrace.cfg" in run("prepare", "--remove", *root)
    assert run("prepare", "--remove", *root) == "nothing is installed\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("prepare", "--install", "--remove"), "exclude each other"),
        (("prepare", "--root", "/no/such/folder"), "there is no such folder"),
        (("collect", "-o", "/no/such/folder/x.parquet"), "does not exist"),
        (("collect", "--merge", "/no/such.parquet", "-o", "/dev/null/x"), "such.parquet does not exist"),
    ],
)
def test_bad_input_is_a_sentence(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(MemtraceError, match=said):
        run(*words)


def test_texts_are_not_saved_among_others(tmp_path: Path) -> None:
    (tmp_path / "dmesg").write_text("of last week")
    with pytest.raises(MemtraceError, match="the folder is not empty"):
        run("collect", "-o", str(tmp_path / "x.parquet"), "--save", str(tmp_path))


def test_collect_tells_what_it_found_and_what_is_not_there(tmp_path: Path) -> None:
    output = tmp_path / "boot.parquet"
    found = run("collect", "-o", str(output))
    assert "not there: early: no /run/memtrace/early" in found
    assert f"memtrace report --view boot {output}" in found and output.exists()
    with pytest.raises(MemtraceError, match="exists; add -f"):
        run("collect", "-o", str(output))
