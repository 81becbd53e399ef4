"""Bringing a recovery point back (docs/format.md section 7): plan by packs, write beneath the target, compare, then report.

Start at `tree.py` (a directory) or `device.py` (a block device); nothing here can write outside the target's directory descriptor.
"""
