"""Deployments: a model served by a process on a host, and what that process is told."""
