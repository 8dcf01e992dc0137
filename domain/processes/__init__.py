"""Processes: commands alive on hosts for their owners.

The row is the order. A process that is wanted and not started is what a host looks for; the bell only makes it look sooner.
The crash story: whatever dies, the row says what is wanted, the run directory says what happened, and the host makes the
two agree. Locks are taken in the order owner → process → host.
"""
