"""The commit log: what is true of a vault at a location (docs/format.md section 6).

`entries.py` are the bytes, `bodies.py` what entries say, `state.py` decides which of them count, `follow.py` reads and appends.
"""
