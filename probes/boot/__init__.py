# SPDX-License-Identifier: Apache-2.0
"""The boot kit: making a kernel record its own boot, and gathering what it recorded.

May import machine/.
"""
