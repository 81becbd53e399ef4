"""Hostile input: everything that reads bytes from a bucket, a run file or a key file, under a coverage-guided fuzzer."""
