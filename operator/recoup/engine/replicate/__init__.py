"""Copying a vault to another location without any key (docs/format.md section 6, Replication).

`run.py` is the entrance, `home.py` says what is to be copied, `sets.py` which objects are new, `copier.py` moves them, `same.py` refuses
another vault's log or an older one.
"""
