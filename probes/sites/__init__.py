# SPDX-License-Identifier: Apache-2.0
"""Where an event can be seen on this kernel: finding a site, trying it, proving it.

Symbols, BTF and call sites say what could be hooked.  The ladder tries the candidates, best form first.
May import machine/, programs/ and workloads/.
"""
