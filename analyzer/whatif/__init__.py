# SPDX-License-Identifier: Apache-2.0
"""What-ifs: what a run would have been under another policy, from its own numbers and stated assumptions.

Predictions, never measurements: a view has them with ``--what-if`` alone.  Each module defines
its own, with what it assumes and where it is a bound.
"""
