# SPDX-License-Identifier: Apache-2.0
"""Bad input to record: one sentence, the right exit status, no traceback."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from memtrace.traces.reader import open_run

live = pytest.mark.live
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="recording needs root")


def record(*arguments: str, **given: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "memtrace.cli", "record", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **given)  # type: ignore[call-overload,no-any-return]


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (["-e", "nonsense"], 2, "unknown event 'nonsense'"),
        (["--", "no-such-command"], 127, "no-such-command: no such command"),
        (["--", "/etc"], 126, "/etc is a folder: give a COMMAND"),
        (["--", "/etc/passwd"], 126, "/etc/passwd may not be executed: give a COMMAND"),
        (["-p", "4194999"], 1, "no process 4194999"),
        (["-p", "abc"], 2, "-p abc: give numbers and ranges"),
        (["-C", "3-1"], 2, "-C 3-1: an empty range"),
        (["-C", "0,3-1"], 2, "-C 0,3-1: an empty range"),
        (["-e", "", "-d", "1"], 2, "-e is empty: give LIST, or leave -e out"),
        (["-e", ",", "-d", "1"], 2, "-e ,: give words with commas between them"),
        (["-p", "", "-d", "1"], 2, "-p is empty: give PID,…, or leave -p out"),
        (["-C", "", "-d", "1"], 2, "-C is empty: give LIST, or leave -C out"),
        (["--comm", "", "-d", "1"], 2, "--comm is empty: give NAME, or leave --comm out"),
        (["--avoid", "", "-d", "1"], 2, "--avoid is empty: give KINDS, or leave --avoid out"),
        (["--ring-size", "", "-d", "1"], 2, "--ring-size is empty: give SIZE, or leave"),
        (["--ring-size", "lots"], 2, "--ring-size lots: give a size"),
        (["--ring-size", "1K"], 2, "between 4K and 1G"),
        (["-d", "0"], 2, "is not in the range"),
        (["-d", "soon"], 2, "is not a valid float"),
        (["--mode", "777", "-d", "1"], 2, "--mode 777: give one such as 600, 640 or 644"),
        (["--mode", "044", "-d", "1"], 2, "--mode 044: give one such as"),
        (["--mode", "rw", "-d", "1"], 2, "--mode rw: give one such as"),
        (["--as-user", "-d", "1"], 2, "--as-user is for a COMMAND, and there is none"),
        (["--as-user", "--", "true"], 2, "--as-user is for recording through sudo"),
        (["-o", "/"], 1, "/ is a directory"),
        (["-o", "/no/such/folder/run.parquet"], 1, "/no/such/folder is not a writable folder"),
        (["--no-such-option"], 2, "No such option"),
    ],
)
def test_bad_input_is_told_in_one_sentence(
    arguments: list[str], status: int, sentence: str, tmp_path: Path
) -> None:
    where = [] if "-o" in arguments else ["-o", str(tmp_path / "run.parquet")]
    done = record(*where, *arguments)
    assert done.returncode == status, done.stderr
    assert sentence in done.stderr
    assert done.stderr.startswith("memtrace: ") and len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "run.parquet").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["-C", "0-1000000000000"], "is not online here"),
        (["-C", f"0-{10**30}"], "is not online here"),
        (["-C", "1000000000000-2000000000000"], "CPU 1000000000000 is not online here"),
        (["-p", "1-99999999999"], "no process"),
        (["-p", f"1-{10**30}"], "no process"),
    ],
)
def test_a_range_is_not_counted_out_beyond_what_there_is(
    arguments: list[str], sentence: str, tmp_path: Path
) -> None:
    """With an address space in which the range as a list does not fit."""
    limited = ["prlimit", f"--as={2 << 30}", sys.executable, "-m", "memtrace.cli", "record"]
    done = subprocess.run(
        [*limited, "-d", "1", "-o", str(tmp_path / "run.parquet"), *arguments],
        capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert done.stderr.startswith("memtrace: ") and sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "run.parquet").exists()


def test_an_existing_output_is_kept(tmp_path: Path) -> None:
    output = tmp_path / "run.parquet"
    output.write_text("precious")
    done = record("-o", str(output), "-d", "1")
    assert done.returncode == 1
    assert "exists: use -f to overwrite it" in done.stderr
    assert output.read_text() == "precious"


@as_root
@pytest.mark.parametrize("force", [[], ["-f"]])
def test_a_link_in_the_place_of_the_output_is_refused_at_once(tmp_path: Path, force: list[str]) -> None:
    output = tmp_path / "run.parquet"
    output.symlink_to("absent")
    done = record("-o", str(output), "-d", "1", *force)
    assert done.returncode == 1
    assert done.stderr.startswith(f"memtrace: {output} is a symbolic link, which is not followed; remove it")
    assert [path.name for path in tmp_path.iterdir()] == ["run.parquet"]


@pytest.mark.skipif(os.geteuid() != 0, reason="drops privileges, so it needs them")
def test_without_privileges_it_says_what_is_missing(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", sys.executable, "-m", "memtrace.cli",
         "record", "-o", str(tmp_path / "run.parquet"), "-d", "1"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert "CAP_BPF" in done.stderr
    assert "Traceback" not in done.stderr


@live
@pytest.mark.skipif(not Path("/dev/full").exists() or os.geteuid() != 0, reason="needs root")
def test_a_full_disk_keeps_what_was_written(tmp_path: Path) -> None:
    script = (
        f"mount -t tmpfs -o size=300k tmpfs {tmp_path} && "
        f"{sys.executable} -m memtrace.cli record --stream all -o {tmp_path}/run.parquet -d 20 -- "
        f"{sys.executable} -c 'while True: bytearray(1 << 24)'; "
        f"echo status $?; {sys.executable} -m memtrace.cli report {tmp_path}/run.parquet | head -3"
    )
    done = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, timeout=90)
    assert "status 1" in done.stdout, done.stdout + done.stderr
    assert "No space left" in done.stderr or "full" in done.stderr
    assert "Traceback" not in done.stderr
    assert "memtrace report" in done.stdout


def started(output: Path, *arguments: str) -> subprocess.Popen[str]:
    """A recorder that has begun to write."""
    before = output.stat().st_ino if output.exists() else None
    command = [sys.executable, "-m", "memtrace.cli", "record", "-o", str(output), *arguments]
    recorder = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not output.exists() or output.stat().st_ino == before:
        assert recorder.poll() is None, recorder.communicate()
        time.sleep(0.01)
    return recorder


@live
@as_root
def test_two_recorders_are_kept_from_one_file_and_a_deleted_one_is_saved(tmp_path: Path) -> None:
    output = tmp_path / "run.parquet"
    recorder = started(output, "-q", "-f")
    assert output.stat().st_mode & 0o777 == 0o600
    second = record("-o", str(output), "-q", "-f", "-d", "1")
    assert second.returncode == 1
    assert second.stderr.startswith(f"memtrace: another process is writing {output}; wait until")
    output.unlink()
    recorder.send_signal(signal.SIGINT)
    said = recorder.communicate()[1]
    saved = tmp_path / "run.saved-1.parquet"
    assert recorder.returncode == 1
    assert said == f"memtrace: {output} was deleted while it was written; its content is saved as {saved}\n"
    assert [path.name for path in tmp_path.iterdir()] == [saved.name]
    with open_run(saved) as run:
        assert run.whole and run.status.stopped_by == "SIGINT"


@live
@as_root
def test_a_deaf_command_does_not_outlive_the_recording(tmp_path: Path) -> None:
    output, mark = tmp_path / "run.parquet", tmp_path / "pid"
    deaf = f"trap '' TERM INT; echo $$ >{mark}; while :; do sleep 1; done"
    done = record("-q", "-o", str(output), "-d", "1", "--mode", "640", "--", "sh", "-c", deaf)
    assert done.returncode == 128 + signal.SIGKILL, done.stderr
    assert not Path(f"/proc/{mark.read_text().strip()}").exists()
    assert output.stat().st_mode & 0o777 == 0o640
    with open_run(output) as run:
        assert (run.status.stopped_by, run.status.exit_status) == ("duration", 137)


@live
@as_root
def test_a_second_signal_ends_it_at_once_and_says_what_is_kept(tmp_path: Path) -> None:
    output = tmp_path / "run.parquet"
    deaf = "trap '' TERM INT; while :; do sleep 1; done"
    recorder = started(output, "--", "sh", "-c", deaf)
    time.sleep(2)
    for _ in range(2):
        recorder.send_signal(signal.SIGINT)
        time.sleep(0.5)
    said = recorder.communicate()[1]
    assert recorder.returncode == 128 + signal.SIGKILL, said
    assert f"rows until the first are kept in {output}; what the probes cost was not measured" in said
    with open_run(output) as run:
        assert run.whole and run.status.cost is not None and run.status.cost.probe_ns is None
