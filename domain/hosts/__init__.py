"""Hosts: machines with a worker. The lease says which worker may speak for the host; every write of a worker names it."""
