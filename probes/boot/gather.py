# SPDX-License-Identifier: Apache-2.0
"""What the running machine still holds of its boot, as the texts that `memtrace import` reads."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from memtrace import __version__
from memtrace.probes.boot.kit import EARLY
from memtrace.probes.machine import tracefs
from memtrace.probes.machine.kernel import describe_system
from memtrace.probes.machine.sources import exists, kmsg_text, names, read_text, syslog_text
from memtrace.probes.machine.state import clock_anchor, snapshot
from memtrace.traces.astray import check
from memtrace.traces.importers import fpdt, systemd
from memtrace.traces.names import decoded
from memtrace.traces.output import create, make_folder, write_all
from memtrace.traces.run import Fact, RunHeader, TraceSource, to_json

_FPDT = "/sys/firmware/acpi/fpdt/boot"
_KMSG = re.compile(r"(\d+),(\d+),(\d+),[^;]*;(.*)")
_ENTRIES = re.compile(r"^# entries-in-buffer/entries-written: (\d+)/(\d+)", re.MULTILINE)
_SYSTEMCTL_S = 10


@dataclass(frozen=True)
class Text:
    """One source's text, or None and the reason why there is none."""

    name: str
    """Name of the file that the text is saved to."""
    format: str
    text: str | None
    why_not: str = ""


def gather(argv: Sequence[str]) -> tuple[Text, ...]:
    """Read all sources, each once; nothing on the machine is changed.

    The last text is of the machine itself: its description, counters and clocks,
    and which of the sources were not there.
    """
    found = [*_trace(), _log(), _fpdt(), _systemd(), *_early()]
    missing = tuple(
        TraceSource(one.name, one.format, 0, clock=one.why_not) for one in found if one.text is None
    )
    return (*found, Text("machine", "machine", _machine(argv, missing, _clock())))


def _machine(argv: Sequence[str], missing: tuple[TraceSource, ...], clock: Fact) -> str:
    description = describe_system()
    known = {name: getattr(description, name) for name in description.__dataclass_fields__}
    known["facts"] = (*description.facts, clock)
    header = RunHeader(
        tool_version=__version__,
        command=tuple(argv),
        anchors=(clock_anchor(),),
        snapshots=(snapshot("boot"),),
        origin="collected",
        sources=missing,
        **known,
    )
    return to_json(header) + "\n"


def _clock() -> Fact:
    text = tracefs.read(("trace_clock",)).get("trace_clock", b"").decode()
    match = re.search(r"\[(\S+)\]", text)
    return Fact("trace_clock", match[1] if match else "unknown", "trace_clock in tracefs")


def _trace() -> Iterator[Text]:
    data = tracefs.read(("trace",)).get("trace")
    if data is None:
        yield Text("trace", "tracefs", None, f"tracefs cannot be read{_confined()}")
        return
    text = decoded(data)
    entries = _ENTRIES.search(text)
    if entries is not None and not int(entries[1]):
        why = "the trace buffer is empty: `memtrace boot prepare` prints what makes this kernel fill it"
        yield Text("trace", "tracefs", None, why)
        return
    yield Text("trace", "tracefs", text)


def _log() -> Text:
    records = kmsg_text()
    if records is not None:
        return Text("dmesg", "dmesg", as_dmesg(records))
    text = syslog_text()
    why = "the kernel log may not be read (CAP_SYSLOG, kernel.dmesg_restrict)"
    return Text("dmesg", "dmesg", text, "" if text else why)


def as_dmesg(records: str) -> str:
    """Return /dev/kmsg records as dmesg(1) prints them, without fields and what user space wrote."""
    lines = []
    for record in records.splitlines():
        if (match := _KMSG.match(record)) and int(match[1]) >> 3 == 0:
            seconds, micros = divmod(int(match[3]), 1_000_000)
            lines.append(f"[{seconds:5d}.{micros:06d}] {match[4]}\n")
    return "".join(lines)


def _fpdt() -> Text:
    values = [(name, read_text("/", f"{_FPDT}/{name}")) for name in fpdt.NAMES]
    lines = [f"{name} {value}\n" for name, value in values if value]
    if lines:
        return Text("fpdt", "fpdt", "".join(lines))
    why = f"no {_FPDT}: no CONFIG_ACPI_FPDT, or firmware has no such table"
    return Text("fpdt", "fpdt", None, f"{why}{_confined()}")


def _systemd() -> Text:
    """Return the times of the systemd that booted this kernel; one in a container has other times."""
    why = ""
    if not exists("/", "/run/systemd/system"):
        why = "systemd did not boot this system"
    elif container := _container():
        why = f"this is a container ({container}): its systemd did not see the machine boot"
    if why:
        return Text("systemd", "systemd", None, why)
    command = ["systemctl", "show", "--property", ",".join(systemd.NAMES)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SYSTEMCTL_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Text("systemd", "systemd", None, f"systemctl cannot be asked ({error})")
    if done.returncode or not done.stdout.strip():
        said = done.stderr.strip().partition("\n")[0]
        return Text("systemd", "systemd", None, f"systemctl show failed: {said}")
    return Text("systemd", "systemd", done.stdout)


def _early() -> Iterator[Text]:
    found = names("/", EARLY)
    for name in found:
        text = read_text("/", f"{EARLY}/{name}")
        yield Text(f"early-{name}", "early", f"{text}\n" if text else None, "" if text else "empty")
    if not found:
        yield Text("early", "early", None, f"no {EARLY}: the initramfs saved no counters")


def _container() -> str:
    """Return the container manager's name, from systemd's own signs for it; "" outside a container."""
    said = read_text("/", "/run/systemd/container")
    if said:
        return said
    match = re.search(r"(?:^|\0)container=([^\0]+)", read_text("/", "/proc/1/environ") or "")
    return match[1] if match else ""


def _confined() -> str:
    container = _container()
    if container:
        return f" (in a container, {container})"
    return "" if os.geteuid() == 0 else " (not root)"


def save(texts: Sequence[Text], folder: Path) -> tuple[Path, ...]:
    """Write the texts that there are into ``folder``, which is made; return their paths.

    Raises OSError if it cannot be made, MemtraceError if a file exists already.
    """
    make_folder(folder)
    paths = []
    for one in texts:
        if one.text is not None:
            path = folder / one.name
            with create(path, overwrite=False, option="--save") as file:
                write_all(file.fd, one.text.encode(errors="surrogateescape"))
                check(file)
            paths.append(path)
    return tuple(paths)
