# SPDX-License-Identifier: Apache-2.0
"""The lab: real kernels booted in QEMU, so that what memtrace says can be checked.

`kernels` is the list of kernels and `guest.run_guest` boots one of them; the rest
of the room serves those two.  Nothing here needs root, KVM or a change to the host.
"""
