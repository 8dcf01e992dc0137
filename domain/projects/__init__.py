"""Projects: what a team wants to train, with the history of every change to it."""
