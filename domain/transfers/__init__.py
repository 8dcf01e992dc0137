"""Transfers: files on their way into a dataset, over as many connections as it takes."""
