# SPDX-License-Identifier: Apache-2.0
"""The steps that change a running guest's memory, over QMP."""

from __future__ import annotations

import time

from memtrace.errors import MemtraceError
from memtrace.lab.qmp import Message, Qmp
from memtrace.lab.spec import Action, PlugDimm, ResizeVirtioMem, UnplugDimm

POLL_S = 0.05
# The guest's _OST reports on an ejection (include/acpi/actypes.h, ACPI specification 6.3.5):
# 0 is done, 0x84 is in progress, all others are refusals.
EJECTION_SOURCES = (3, 0x103)
# Bus check and device check, after which the guest adds what it finds.
INSERTION_SOURCES = (0, 1)
IN_PROGRESS = 0x84
NO_REFUSALS = (0, IN_PROGRESS)


def perform(qmp: Qmp, action: Action) -> str:
    """Do one action and return the answer for the guest: "done …" or "failed …".

    "failed" is the guest's own refusal, which a script may expect; what QEMU refuses
    raises MemtraceError.
    """
    match action:
        case PlugDimm(name, nid, size):
            return _plug(qmp, name, nid, size)
        case UnplugDimm(name):
            return _unplug(qmp, name)
        case ResizeVirtioMem(name, size):
            return _resize(qmp, name, size)
    raise MemtraceError(f"{action} is no hotplug step")


def _plug(qmp: Qmp, name: str, nid: int, size: int) -> str:
    ram = f"ram-{name}"
    qmp.execute("object-add", **{"qom-type": "memory-backend-ram", "id": ram, "size": size})
    qmp.forget_events()
    qmp.execute("device_add", driver="pc-dimm", id=name, memdev=ram, node=nid)
    # The guest reports once its driver has added the memory, and brought it online where it does so itself.
    event = qmp.wait_event(lambda event: added(event, name) is not None)
    if event is None:
        return f"failed {name} is not taken by the guest within {qmp.timeout_s:.0f} s"
    if not added(event, name):
        return f"failed {name} is refused by the guest, see its kernel's log"
    return f"done {name} plugged"


def _unplug(qmp: Qmp, name: str) -> str:
    qmp.forget_events()
    qmp.execute("device_del", id=name)
    event = qmp.wait_event(lambda event: is_deleted(event, name) or is_refused(event, name))
    if event is None:
        return f"failed {name} is not given back after {qmp.timeout_s:.0f} s"
    if not is_deleted(event, name):
        return f"failed {name} is refused by the guest, see its kernel's log"
    qmp.execute("object-del", id=f"ram-{name}")
    return f"done {name} unplugged"


def added(event: Message, name: str) -> bool | None:
    """Whether the event says that the guest has added the device's memory; None: says neither."""
    info = event["data"]["info"] if event["event"] == "ACPI_DEVICE_OST" else {}
    if info.get("device") != name or info["source"] not in INSERTION_SOURCES:
        return None
    return None if info["status"] == IN_PROGRESS else info["status"] == 0


def is_deleted(event: Message, name: str) -> bool:
    """Whether the event says that the guest has given the device back."""
    return event["event"] == "DEVICE_DELETED" and _device(event) == name


def is_refused(event: Message, name: str) -> bool:
    """Whether the event says that the guest keeps the device."""
    if event["event"] in ("MEM_UNPLUG_ERROR", "DEVICE_UNPLUG_GUEST_ERROR"):
        return _device(event) == name
    if event["event"] != "ACPI_DEVICE_OST":
        return False
    info = event["data"]["info"]
    if info.get("device") != name or info["source"] not in EJECTION_SOURCES:
        return False
    return info["status"] not in NO_REFUSALS


def _device(event: Message) -> str | None:
    device: str | None = event["data"].get("device")
    return device


def _resize(qmp: Qmp, name: str, size: int) -> str:
    path = f"/machine/peripheral/{name}"
    qmp.execute("qom-set", path=path, property="requested-size", value=size)
    deadline = time.monotonic() + qmp.timeout_s
    while time.monotonic() < deadline:
        now = qmp.execute("qom-get", path=path, property="size")
        if now == size:
            return f"done {name} {size}"
        time.sleep(POLL_S)
    return f"failed {name} has {now} of {size} bytes after {qmp.timeout_s:.0f} s"
