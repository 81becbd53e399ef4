"""The backup engine: sealed objects, keys, the log, stores, backup, restore, verification.

It knows nothing of Kubernetes and nothing of the command line. Start reading at `format/` (bytes), then `log/` (what is true),
then `backup/` and `restore/`. docs/format.md is the specification that all of it implements.
"""
