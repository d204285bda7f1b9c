# SPDX-License-Identifier: Apache-2.0
"""What QEMU's events say about a device that is to be given back; the plugging is in tests/vm."""

from typing import Any

import pytest

from memtrace.lab.hotplug import is_deleted, is_refused


def ost(source: int, status: int, device: str = "d0") -> dict[str, Any]:
    info = {"device": device, "source": source, "status": status, "slot": "0", "slot-type": "DIMM"}
    return {"event": "ACPI_DEVICE_OST", "data": {"info": info}}


@pytest.mark.parametrize(
    ("event", "refused"),
    [
        (ost(3, 0x82), True),
        (ost(0x103, 1), True),
        (ost(3, 0x84), False),
        (ost(3, 0), False),
        (ost(1, 0x82), False),
        (ost(3, 0x82, device="d1"), False),
        ({"event": "MEM_UNPLUG_ERROR", "data": {"device": "d0", "msg": "x"}}, True),
        ({"event": "NIC_RX_FILTER_CHANGED", "data": {}}, False),
    ],
)
def test_refusals(event: dict[str, Any], refused: bool) -> None:
    assert is_refused(event, "d0") is refused
    assert not is_deleted(event, "d0")


def test_deleted_is_about_the_device_and_not_its_path() -> None:
    assert is_deleted({"event": "DEVICE_DELETED", "data": {"device": "d0"}}, "d0")
    assert not is_deleted({"event": "DEVICE_DELETED", "data": {"path": "/machine/d0"}}, "d0")
