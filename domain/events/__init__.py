"""Events: the ordered record of every change of state, written in the transaction that makes the change."""
