"""Looking into recovery points without restoring them: find, cat, diff, stats. Reads only; memory does not grow with the number of files.

Start at the module of the command; `sets.py` reads object sets, `points.py` says what two recovery points share.
"""
