# SPDX-License-Identifier: Apache-2.0
"""Comparing sides of runs: is it the patch, or is it noise?

The unit is the run.  Each run gives one number for each metric (metrics.py, measure.py); the
thousands of events inside it say how well that number is known, never how many
observations there are.  A *side* is the runs of one kernel (sides.py).

change
    The ratio of the geometric means of the two sides' runs, less 1.  Costs of
    boots are skewed and their errors are proportional, so means of logarithms
    have the narrower interval at the same coverage, and before and after show
    these means, so that the change can be checked by hand.  Where a run has 0
    there is no logarithm: then arithmetic means, and the interval is that of
    the logarithm of their ratio.
interval
    Hierarchical bootstrap of that change (bootstrap.py): runs are drawn with
    replacement; inside a run its histogram's cells are drawn again where the
    runs vary less than their own events alone would make them.
verdict
    worse or better (for metrics without a direction: more or less) if an exact
    permutation test on the runs (permutation.py), corrected for all headline
    metrics, and the interval both exclude "no change"; equivalent if the
    interval lies within the margin; ~ if neither can be said; withheld if the
    two numbers mean different things (comparability.py).
"""
