"""Keeping a vault small: what nothing needs is condemned, swept and deleted (docs/retention.md, docs/format.md section 6).

`prune.py` is the entrance; `mark.py` says what is live, `garbage.py` what is not, `delete.py` frees it.
"""
