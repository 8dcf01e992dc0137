"""Access: who a caller is, what they may do, and what they were answered when they asked before."""
