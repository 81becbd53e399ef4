"""Verification levels V0 to V4 (docs/format.md section 8): is what the log promises really there, and would it come back?

`run.py` is the entrance; `live.py` says what must be there, `objects.py` checks each object once, `walk.py` each recovery point's tree.
"""
