# SPDX-License-Identifier: Apache-2.0
"""Cgroups by inode number."""

from pathlib import Path

from memtrace.probes.recorder.cgroups import mount_point, paths


def test_a_path_is_counted_from_the_mount(tmp_path: Path) -> None:
    inner = tmp_path / "system.slice" / "a.service"
    inner.mkdir(parents=True)
    (inner / "cgroup.procs").touch()
    assert paths(tmp_path) == {
        tmp_path.stat().st_ino: "/",
        inner.parent.stat().st_ino: "/system.slice",
        inner.stat().st_ino: "/system.slice/a.service",
    }


def test_the_second_version_is_found_beside_the_first(tmp_path: Path) -> None:
    mounts = tmp_path / "proc" / "self" / "mounts"
    mounts.parent.mkdir(parents=True)
    mounts.write_text("cgroup /sys/fs/cgroup/cpu cgroup rw 0 0\n")
    assert mount_point(tmp_path) is None
    mounts.write_text("cgroup /s/cpu cgroup rw 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n")
    assert mount_point(tmp_path) == tmp_path / "sys/fs/cgroup/unified"
