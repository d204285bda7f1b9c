# SPDX-License-Identifier: Apache-2.0
"""A guest of a lab guest: a second Linux, whose private memory the first one's KVM provides.

The first is a host for `memtrace record -e gmem`; the second accepts its memory, of which it
prints a trace and the kernel's own log.  No hardware for it is needed: QEMU emulates nested
SVM, and the kernel with emulated acceptance serves as both.  Their programs are in `nested/`.
"""

from __future__ import annotations

import re
from pathlib import Path

from memtrace.lab import cache, kernels
from memtrace.lab.programs import program
from memtrace.lab.vmlinux import is_elf, read_kernel, unpack_bzimage

FOLDER = Path(__file__).resolve().parent / "nested"
KERNEL = "accept-6.12"
PRIVATE_MIB = 512
"""Of the guest's guest; about 350 MiB are accepted before its first process, and not traced."""
TRIES = 5
"""It hung in 10 of 70 boots while the first guest recorded."""
TRY_S = 150
HANGS = 3
"""vmm's exit status where the guest hangs, which it knows after about 15 s."""


def files() -> tuple[Path, ...]:
    """What the first guest needs in $FILES, for `command()`."""
    return program("vmm", FOLDER), program("init", FOLDER), _vmlinux()


def command(out: str, rings: str) -> str:
    """Shell words that run the second guest; its serial port goes to ``out``, vmm's clock to ``rings``.

    One that hangs (see vmm.c) is tried again, as another VM.
    """
    private = f"unaccepted_emul={PRIVATE_MIB}M@96M"
    vmm = f"$FILES/vmm $FILES/vmlinux $FILES/init {PRIVATE_MIB} noxsave {private} >{out} 2>{rings}"
    once = f"timeout -s KILL {TRY_S} {vmm}; status=$?; [ $status = {HANGS} ] || break"
    return f"for try in $(seq {TRIES}); do {once}; done; exit $status"


def printed(serial: str) -> dict[str, str]:
    """The files that the second guest has printed; "end" is among them if they are whole."""
    parts = re.split(r"^#file (\w+)\n", serial.replace("\r", ""), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def _vmlinux() -> Path:
    image = read_kernel(kernels.prepare(KERNEL).boot_file)

    def build(folder: Path) -> None:
        vmlinux = image if is_elf(image) else unpack_bzimage(image)
        (folder / "vmlinux").write_bytes(vmlinux or b"")

    return cache.ensure("nested", cache.key_of(image), build) / "vmlinux"
