"""What Tuneyard is, in words: the rules of the house, without any of its wiring.

Project    what a team wants to train: a dataset, a config, defaults. Every change is a new version.
Dataset    uploaded files under a name; every change is a new version; a run pins the very bytes it was launched with.
Transfer   a file on its way into a dataset, over as many connections as it takes.
Config     a training YAML, checked when it arrives, frozen into each run.
Run        one training: queued → starting → running → succeeded | failed | cancelled; `cancelling` from any live state.
Job        work of ours on the files of a dataset, such as taking personal data out of it; its end is a version.
Process    a command alive on a host for an owner (a run, a deployment, a job). The row is the order to start it.
Attempt    one life of a process; its run directory tells whether it started, lives, and how it ended.
Host       a machine with a worker; its lease says which worker may speak for it.
GPU        one of a host, held by one process or nobody, or set aside.
Condition  something that a person should know about a living run: silent, unreachable, NaN. No state; it may pass.
Artifact   something a run left on disk; a checkpoint says whether it is complete.
Event      the record of one change: who, what, when, on which thing; written in the same transaction.
Action     a plain function `(tx, …)`: one thing people or hosts may do, in one transaction.
Port       what the rules need from the world; `infra/` implements it and decides nothing.
"""
