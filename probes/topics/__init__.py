# SPDX-License-Identifier: Apache-2.0
"""The events, one subject per module, with its BPF C beside it.

A topic says which functions serve its events and what their arguments mean.
May import machine/, programs/ and sites/.
"""
