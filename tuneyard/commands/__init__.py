"""The commands that are calls of the HTTP API, by noun."""
