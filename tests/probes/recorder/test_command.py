# SPDX-License-Identifier: Apache-2.0
"""The traced command: waits for release, passes its status on, leaves no process."""

import os
import pwd
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from memtrace.errors import MemtraceError
from memtrace.probes.recorder import command as workload_module
from memtrace.probes.recorder.child import User, user_of_sudo
from memtrace.probes.recorder.command import Workload


def wait(workload: Workload) -> int | None:
    for _ in range(500):
        if workload.poll():
            return workload.status
        time.sleep(0.01)
    raise AssertionError("the command did not end")


def test_nothing_runs_before_release(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    workload = Workload(["touch", str(mark)])
    time.sleep(0.1)
    assert not mark.exists()
    assert not workload.poll()
    workload.release()
    assert wait(workload) == 0
    assert mark.exists()


@pytest.mark.parametrize(("code", "status"), [("exit 7", 7), ("kill -TERM $$", 128 + signal.SIGTERM)])
def test_the_exit_status_is_passed_on(code: str, status: int) -> None:
    workload = Workload(["sh", "-c", code])
    workload.release()
    assert wait(workload) == status


def test_a_command_that_does_not_exist_is_refused_before_anything_is_forked() -> None:
    with pytest.raises(MemtraceError, match="no-such-command: no such command"):
        Workload(["no-such-command"])


def test_a_command_that_cannot_be_executed_is_refused_with_the_shells_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "no-program"
    script.write_text("#!/bin/sh\n")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    for word, said in (
        (str(tmp_path), f"{tmp_path} is a folder: give a COMMAND that can be"),
        (str(script), f"{script} may not be executed: give a COMMAND that can be"),
        ("no-program", f"{script} may not be executed"),
    ):
        with pytest.raises(MemtraceError, match=said) as refused:
            Workload([word])
        assert refused.value.exit_code == 126
        assert subprocess.run(["bash", "-c", word], capture_output=True).returncode == 126
    with pytest.raises(MemtraceError, match="no such command") as refused:
        Workload([f"{tmp_path}/absent"])
    assert refused.value.exit_code == 127


def test_what_turns_out_to_be_no_program_has_the_shells_status(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"\x7fELF, or not")
    program.chmod(0o755)
    workload = Workload([str(program)])
    workload.release()
    assert wait(workload) == 126
    assert capfd.readouterr().err == f"memtrace: {program}: Exec format error\n"


def test_stop_ends_a_running_command() -> None:
    workload = Workload(["sleep", "1000"])
    workload.release()
    workload.stop()
    assert workload.status == 128 + signal.SIGTERM
    assert not Path(f"/proc/{workload.pid}").exists()


def test_stop_before_release_runs_nothing(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    workload = Workload(["touch", str(mark)])
    workload.stop()
    assert not mark.exists()
    assert not Path(f"/proc/{workload.pid}").exists()


def test_an_interrupt_of_the_recorder_is_not_ignored_in_the_command() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        workload = Workload(
            [sys.executable, "-c", "import signal; exit(signal.getsignal(2) == signal.SIG_IGN)"]
        )
        workload.release()
        assert wait(workload) == 0
    finally:
        signal.signal(signal.SIGINT, before)
    assert os.getpid() != workload.pid


LIBC_OWN = 1 << 31 | 1 << 32
"""Signals 32 and 33: glibc's own.  Its posix_spawn(), which make uses, leaves them ignored."""
CAPS = ("CapInh", "CapPrm", "CapEff", "CapAmb")


def told(command: list[str], tmp_path: Path, user: User | None = None) -> str:
    """What a command says on standard output."""
    said = tmp_path / "said"
    said.touch()
    said.chmod(0o666)
    workload = Workload(["sh", "-c", 'exec "$@" >"$0"', str(said), *command], user)
    workload.release()
    assert wait(workload) == 0
    return said.read_text()


def status_fields(text: str) -> dict[str, str]:
    return {name: value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}


def test_a_command_starts_with_default_signals_in_a_group_of_its_own(tmp_path: Path) -> None:
    """Python itself ignores SIGPIPE and SIGXFSZ; whoever called may ignore and block others."""
    taken = {n: signal.signal(n, signal.SIG_IGN) for n in (signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)}
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    try:
        fields = status_fields(told(["cat", "/proc/self/status"], tmp_path))
        stat = told(["cat", "/proc/self/stat"], tmp_path).split()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR2})
        for number, handler in taken.items():
            signal.signal(number, handler)
    told_of = [int(fields[name], 16) & ~LIBC_OWN for name in ("SigIgn", "SigBlk", "SigCgt")]
    assert told_of == [0, 0, 0]
    assert stat[4] == stat[0]
    assert int(stat[4]) != os.getpgrp()


def test_a_pipe_that_is_closed_ends_the_command_without_a_word(capfd: pytest.CaptureFixture[str]) -> None:
    workload = Workload(["sh", "-c", "yes | head -n 1"])
    workload.release()
    assert wait(workload) == 0
    assert capfd.readouterr() == ("y\n", "")


def test_what_the_recorder_has_open_is_not_the_commands(tmp_path: Path) -> None:
    with (tmp_path / "mine").open("w") as mine:
        listed = told(["ls", "-l", "/proc/self/fd"], tmp_path)
        assert str(tmp_path / "mine") not in listed, mine


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

WITH_AMBIENT = """
import sys
from memtrace.probes.recorder.command import Workload
workload = Workload(["cat", "/proc/self/status"])
workload.release()
while not workload.poll():
    pass
sys.exit(workload.status)
"""


@as_root
def test_capabilities_of_the_recorder_are_not_the_commands() -> None:
    """As another user with ambient CAP_BPF and CAP_PERFMON, as the unit gives them."""
    given = "+bpf,+perfmon,+dac_read_search"
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", f"--inh-caps={given}",
         f"--ambient-caps={given}", sys.executable, "-c", WITH_AMBIENT],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    fields = status_fields(done.stdout)
    assert [int(fields[name], 16) for name in CAPS] == [0, 0, 0, 0]
    assert fields["NoNewPrivs"] == "0"


@as_root
def test_root_stays_root_without_inheritable_capabilities() -> None:
    given = "+bpf,+perfmon"
    done = subprocess.run(
        ["setpriv", f"--inh-caps={given}", f"--ambient-caps={given}", sys.executable, "-c", WITH_AMBIENT],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    fields = status_fields(done.stdout)
    assert [int(fields[name], 16) for name in ("CapInh", "CapAmb")] == [0, 0]
    assert fields["Uid"].split() == ["0"] * 4
    assert fields["CapEff"] == status_fields(Path("/proc/self/status").read_text())["CapEff"]


@as_root
def test_as_the_user_who_called_sudo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_UID", "65534")
    monkeypatch.setenv("SUDO_GID", "65534")
    for above in (tmp_path, *list(tmp_path.parents)[:-2]):
        above.chmod(above.stat().st_mode | 0o011)
    user = user_of_sudo()
    fields = status_fields(told(["cat", "/proc/self/status"], tmp_path, user))
    assert fields["Uid"].split() == fields["Gid"].split() == ["65534"] * 4
    assert fields["Groups"].split() == ["65534"]
    assert [int(fields[name], 16) for name in CAPS] == [0, 0, 0, 0]
    assert told(["sh", "-c", "echo $USER"], tmp_path, user) == f"{pwd.getpwuid(65534).pw_name}\n"
    for uid in ("", "0", "x"):
        monkeypatch.setenv("SUDO_UID", uid)
        with pytest.raises(MemtraceError, match="--as-user is for recording through sudo") as refused:
            user_of_sudo()
        assert refused.value.exit_code == 2


DEAF = "trap '' TERM INT; echo $$ >{0}; while :; do sleep 1000; done"


def running(path: Path) -> bool:
    """Whether the process whose number is in the file still runs."""
    try:
        return (
            Path(f"/proc/{int(path.read_text())}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
        )
    except OSError:
        return False


def deaf(tmp_path: Path, *, behind: bool) -> tuple[Workload, Path]:
    """A workload that ignores SIGTERM, itself or behind a shell that does not."""
    mark = tmp_path / "pid"
    script = DEAF.format(mark)
    if behind:
        script = f"({script}) & wait"
    workload = Workload(["sh", "-c", script])
    workload.release()
    while not (mark.exists() and mark.read_text()):
        time.sleep(0.01)
    return workload, mark


@pytest.mark.parametrize("behind", [False, True])
def test_what_ignores_sigterm_is_killed_with_all_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, behind: bool
) -> None:
    monkeypatch.setattr(workload_module, "_PATIENCE_S", 0.3)
    workload, mark = deaf(tmp_path, behind=behind)
    assert running(mark)
    workload.stop()
    assert workload.status == 128 + (signal.SIGTERM if behind else signal.SIGKILL)
    with pytest.raises(ChildProcessError):
        os.waitpid(workload.pid, os.WNOHANG)
    assert not running(mark)
    assert group_is_empty(workload.pid)


def group_is_empty(group: int) -> bool:
    found = [path.read_text().rpartition(")")[2].split() for path in Path("/proc").glob("[0-9]*/stat")]
    return not [fields for fields in found if int(fields[2]) == group and fields[0] not in "ZX"]


def test_who_is_in_a_hurry_does_not_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the hurry this would wait for an hour."""
    monkeypatch.setattr(workload_module, "_PATIENCE_S", 3600.0)
    workload, mark = deaf(tmp_path, behind=False)
    workload.stop(hurried=lambda: True)
    assert workload.status == 128 + signal.SIGKILL
    assert not running(mark)


def test_a_stopped_command_ends_too() -> None:
    workload = Workload(["sh", "-c", "kill -STOP $$; sleep 1000"])
    workload.release()
    stat = Path(f"/proc/{workload.pid}/stat")
    while stat.read_text().rpartition(")")[2].split()[0] != "T":
        time.sleep(0.01)
    assert not workload.poll()
    workload.stop()
    assert workload.status == 128 + signal.SIGTERM
