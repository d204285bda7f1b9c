# SPDX-License-Identifier: Apache-2.0
"""What a guest's guest has printed, taken apart; it runs in tests/vm/test_gmem_guest.py."""

from __future__ import annotations

from memtrace.lab.nested_guest import command, printed

SERIAL = "[ 0.1] Linux\r\n\n#file doorbells\r\n1 2\r\n#file trace\n# tracer: nop\n#file end\n[ 8.0] reboot\n"


def test_files_on_the_serial_port() -> None:
    assert printed(SERIAL) == {"doorbells": "1 2\n", "trace": "# tracer: nop\n", "end": "[ 8.0] reboot\n"}
    assert "end" not in printed(SERIAL[: SERIAL.index("#file end")])


def test_the_private_memory_is_what_the_guest_has_to_accept() -> None:
    words = command("out", "rings").split()
    at = words.index("$FILES/init")
    assert words[at + 1 : at + 5] == ["512", "noxsave", "unaccepted_emul=512M@96M", ">out"]
