# SPDX-License-Identifier: Apache-2.0
"""How events are seen: finding a site, attaching it, reading the rings, the state of the system."""
