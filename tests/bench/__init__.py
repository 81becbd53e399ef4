"""Benchmarks: recoup beside restic and kopia, on data that everybody can make again. Run `python -m tests.bench --help`."""
