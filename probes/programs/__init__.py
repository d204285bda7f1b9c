# SPDX-License-Identifier: Apache-2.0
"""BPF programs: compiling, loading and attaching them, and reading their maps as arrays.

A program that the kernel refuses raises RefusedError with the reason.
May import machine/.
"""
