"""Ways to keep a command alive on a host. Each places the shim beside it and reads its run directory; none decides anything."""
