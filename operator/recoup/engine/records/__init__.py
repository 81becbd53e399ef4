"""Records of format version 1: what the blocks of trees, content lists, refs, caches and manifests hold (docs/format-data.md).

Pure: bytes to structs and back, no I/O and no keys. Everything decoded is hostile; what is not well-formed raises Integrity.
"""
