# SPDX-License-Identifier: Apache-2.0
"""BPF programs: compiled, loaded, attached, and their maps read as arrays.

What the kernel refuses is a RefusedError with its reason.
May import machine/.
"""
