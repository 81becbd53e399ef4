"""`python -m tests.fuzz TARGET --seconds N --corpus DIR`: one target under atheris (libFuzzer), guided by coverage of the engine.

What it finds interesting is kept in DIR, so that the next run goes on from there. An exception that is none of ours ends it with the
traceback and the input, which belongs into test_findings.py. A limit of address space turns memory that nobody declared into such an end.
"""

from __future__ import annotations

import argparse
import random
import resource
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["recoup.engine", "recoup.controller.points"]):
    from tests.fuzz.all import target_by_name

from tests.fuzz.mutate import mutate
from tests.fuzz.target import judge

MEMORY = 4 << 30
"""Bytes of address space beyond what the process has when it begins. Verification maps room for the largest object in each thread and
leaves most of it untouched; a length that is believed before it is checked would ask for more. What is really taken is measured in
test_fuzz.py."""
LONGEST = 1 << 16
"""Bytes of an input."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--corpus", type=Path, required=True)
    asked = parser.parse_args()
    target = target_by_name(asked.target)
    asked.corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds):
        (asked.corpus / f"seed-{number}").write_bytes(seed)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, resource.RLIM_INFINITY))

    def custom(data: bytes, max_size: int, seed: int) -> bytes:
        rng = random.Random(seed)
        return bytes(atheris.Mutate(data, max_size)) if rng.random() < 0.2 else mutate(data, rng)[:max_size]

    flags = [f"-max_total_time={asked.seconds}", f"-max_len={LONGEST}", "-timeout=20", "-rss_limit_mb=0", "-print_final_stats=1",
             f"-artifact_prefix={asked.corpus}/../"]  # fmt: skip
    atheris.Setup([sys.argv[0], *flags, str(asked.corpus)], lambda data: judge(target, data), custom_mutator=custom)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
