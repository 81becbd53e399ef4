"""The bytes of the repository format that need keys but no store: names, sealed objects, sealed records.

Nothing here does I/O. docs/format.md sections 1 and 3 are the specification; tests/vectors holds its test vectors.
"""
