"""Datasets: uploaded files under a name; what a run has pinned stays until nothing needs it."""
