# SPDX-License-Identifier: Apache-2.0
"""What this machine is: kernel, platform, topology, settings, counters, privileges.

Reads text files below a root, and judges nothing that it can't show the source of.
Imports nothing else of probes/.
"""
