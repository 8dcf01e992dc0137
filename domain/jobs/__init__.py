"""Jobs: work of ours on the files of a dataset that a host does in the background, such as taking personal data out.

The crash story is that of runs: the job and its process are the order, written in one transaction; the program goes on from the last
chunk that it finished, in whichever attempt; and only the end gives the dataset its next version. Locks: job → process → host.
"""
