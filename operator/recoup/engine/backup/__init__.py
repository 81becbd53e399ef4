"""Making a recovery point: units, blocks, packs, trees, refs, manifest, COMMIT (docs/format.md sections 4 to 6, docs/format-data.md).

Start with session.py, which shows the order of writing; pipeline.py has the threads.
"""
