"""Runs: one training each, from the request to its end.

The crash story: `launch` writes the run and its process in one transaction, and that is the order to start it. The host that
takes it writes each step down before or after the world has taken it, never instead: a start is claimed by a file that can be
made only once, output is stored in the transaction that moves the offset, and the end is settled from what the run directory
says. So any part may die at any moment, and whoever comes next goes on where the rows and the directory say.
Locks are taken in the order run → process → host.
"""
