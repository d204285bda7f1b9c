# SPDX-License-Identifier: Apache-2.0
"""The traced command: waits for release, passes its status on, leaves no process."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from memtrace.errors import MemtraceError
from memtrace.probes.workload import Workload


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
