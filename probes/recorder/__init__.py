# SPDX-License-Identifier: Apache-2.0
"""This room makes one recording, from the wanted events to the closed file.

It reads the maps and rings, and turns them into rows, sums and losses.
It may import every other room of probes/ except boot/.
"""
