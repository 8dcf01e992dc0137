"""Deployments: models that answer. Each is a process wanted on a host until somebody says otherwise, whatever dies meanwhile.

Locks are taken in the order deployment → process → host.
"""
