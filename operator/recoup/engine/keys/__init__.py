"""Keys: what opens a vault (KEKs), what a vault is sealed with (keyrings), and which part of that each role holds.

Nothing here talks to the log; `engine/vault.py` does. docs/format.md section 2 is the specification.
"""
