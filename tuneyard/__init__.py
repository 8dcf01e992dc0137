"""Tuneyard from outside: a Python library and a command line over its HTTP API, and the commands that start a server."""
