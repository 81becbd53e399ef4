"""Bringing back what a location lost, from other locations (docs/format.md section 1, Incarnations). Entrance: `run.py`."""
