"""The program of a job: what a host starts for one, as a process of its own that outlives the worker."""
