# SPDX-License-Identifier: Apache-2.0
"""The boot kit's files: what is installed where, and that removing leaves nothing."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from memtrace.errors import MemtraceError
from memtrace.probes.boot import kit
from memtrace.probes.boot.install import RECORD, install, remove

LINE = "ftrace=function trace_clock=local"


def system(root: Path, *present: str) -> Path:
    """A root with these files, or folders (ending in /)."""
    for path in (*present, "etc/systemd/system/"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        if path.endswith("/"):
            (root / path).mkdir(exist_ok=True)
        else:
            (root / path).write_text("")
    return root


def debian(root: Path) -> Path:
    return system(
        root, "etc/default/grub", "usr/sbin/update-grub", "usr/sbin/update-initramfs", "etc/initramfs-tools/"
    )


def fedora(root: Path) -> Path:
    return system(root, "usr/sbin/grubby", "usr/lib/dracut/modules.d/")


def files(root: Path) -> tuple[kit.KitFile, ...]:
    units = kit.units(root, ("/opt/mem trace/bin/memtrace",), 60)
    return (*kit.place(root, LINE).files, *kit.initramfs(root).files, *units)


def tree(root: Path) -> dict[str, str]:
    return {
        str(p.relative_to(root)): f"-> {p.readlink()}"
        if p.is_symlink()
        else p.read_text()
        if p.is_file()
        else ""
        for p in sorted(root.rglob("*"))
    }


@pytest.mark.parametrize("distribution", [debian, fedora])
def test_installed_and_removed_leaves_the_system_as_it_was(tmp_path: Path, distribution: object) -> None:
    root = distribution(tmp_path)  # type: ignore[operator]
    before = tree(root)
    written = install(files(root), root)
    assert set(written) <= {f"/{path}" for path in tree(root)}
    once = tree(root)
    install(files(root), root)
    assert tree(root) == once, "installing again changes nothing"
    done = remove(root)
    assert sorted(done.removed) == sorted(written) and not done.kept
    assert tree(root) == before
    assert remove(root).removed == ()


def test_grub_gets_a_drop_in_that_adds_to_the_command_line(tmp_path: Path) -> None:
    root = debian(tmp_path)
    install(files(root), root)
    drop_in = root / "etc/default/grub.d/memtrace.cfg"
    script = f'GRUB_CMDLINE_LINUX=quiet; . {drop_in}; echo "$GRUB_CMDLINE_LINUX"'
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == f"quiet {LINE}\n"
    assert kit.place(root, LINE).apply == ("update-grub",)


def test_grubby_and_kernel_install_get_commands_and_no_file(tmp_path: Path) -> None:
    place = kit.place(fedora(tmp_path / "f"), LINE)
    assert place.files == () and place.apply == (f"grubby --update-kernel=ALL --args='{LINE}'",)
    assert place.undo == (f"grubby --update-kernel=ALL --remove-args='{LINE}'",)
    other = system(tmp_path / "s", "etc/kernel/cmdline")
    (other / "etc/kernel/cmdline").write_text("root=/dev/vda rw\n")
    edits = kit.place(other, LINE)
    for command, wanted in (
        (edits.apply[0], f"root=/dev/vda rw {LINE}\n"),
        (edits.undo[0], "root=/dev/vda rw\n"),
    ):
        here = command.replace("/etc/kernel/cmdline", str(other / "etc/kernel/cmdline"))
        subprocess.run(["sh", "-c", here], check=True)
        assert (other / "etc/kernel/cmdline").read_text() == wanted


def test_a_file_that_is_not_ours_is_not_overwritten(tmp_path: Path) -> None:
    root = debian(tmp_path)
    theirs = root / "etc/systemd/system" / kit.UNIT
    theirs.write_text("[Unit]\n")
    before = tree(root)
    with pytest.raises(MemtraceError, match=r"memtrace-boot.service exists and is not memtrace's"):
        install(files(root), root)
    assert tree(root) == before


def test_a_file_changed_since_is_kept_and_said(tmp_path: Path) -> None:
    root = debian(tmp_path)
    install(files(root), root)
    drop_in = root / "etc/default/grub.d/memtrace.cfg"
    drop_in.write_text(drop_in.read_text() + "# mine\n")
    done = remove(root)
    assert done.kept == (("/etc/default/grub.d/memtrace.cfg", "changed since it was installed"),)
    assert drop_in.exists()
    drop_in.unlink()
    assert remove(root).kept == () and not (root / RECORD.lstrip("/")).exists()


def test_a_recorded_run_is_not_removed_with_the_kit(tmp_path: Path) -> None:
    root = debian(tmp_path)
    install(files(root), root)
    run = root / kit.RUN.lstrip("/")
    run.write_text("rows")
    remove(root)
    assert run.exists()


def test_the_initramfs_scripts_save_what_the_importer_reads(tmp_path: Path) -> None:
    from memtrace.traces.importers import early
    from memtrace.traces.importers.parsed import Given

    root = debian(tmp_path)
    install(files(root), root)
    for folder, label in (("init-top", "initramfs-start"), ("init-bottom", "initramfs-end")):
        script = (root / f"etc/initramfs-tools/scripts/{folder}/memtrace").read_text()
        assert (
            subprocess.run(["sh", "-c", script, "x", "prereqs"], capture_output=True, check=True).stdout
            == b"\n"
        )
        here = script.replace(kit.EARLY, str(tmp_path / "early"))
        subprocess.run(["sh", "-c", here], check=True)
        saved = (tmp_path / "early" / label).read_text().splitlines(keepends=True)
        assert early.recognise(saved)
        parsed = early.parse(saved, Given())
        (taken,) = parsed.snapshots
        assert parsed.unparsed == 0 and taken.boottime_ns > 0 and taken.vmstat["nr_free_pages"] > 0
        assert taken.nodes["0"]["MemTotal"] > 0


def test_the_dracut_module_is_good_shell(tmp_path: Path) -> None:
    root = fedora(tmp_path)
    install(files(root), root)
    folder = root / "usr/lib/dracut/modules.d/99memtrace"
    for script in folder.iterdir():
        assert script.stat().st_mode & 0o111
        subprocess.run(["bash", "-n", str(script)], check=True)
    stubs = 'inst_multiple() { echo "$@"; }; inst_hook() { echo "$1 $2"; }'
    run = f". {folder}/module-setup.sh; {stubs}; check && install"
    done = subprocess.run(["bash", "-c", run], capture_output=True, text=True, check=True)
    assert done.stdout == "cat mkdir\ncmdline 00\ncleanup 99\n"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_has_nothing_to_say_of_the_units(tmp_path: Path) -> None:
    root = system(tmp_path)
    program = tmp_path / "memtrace"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    install(kit.units(root, (str(program),), 60), root)
    paths = [str(root / "etc/systemd/system" / name) for name in (kit.UNIT, kit.END_UNIT)]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *paths], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_program_with_a_space_or_a_percent_is_quoted_for_systemd(tmp_path: Path) -> None:
    (unit, *_) = kit.units(system(tmp_path), ("/opt/mem trace/50%/memtrace",), 60)
    assert 'ExecStart="/opt/mem trace/50%%/memtrace" record ' in unit.text


def test_a_system_without_anything_known_gets_nothing(tmp_path: Path) -> None:
    assert kit.place(tmp_path, LINE).name == "none"
    assert kit.initramfs(tmp_path).files == () and kit.units(tmp_path, ("memtrace",), 1) == ()
