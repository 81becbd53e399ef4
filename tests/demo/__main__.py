"""`python -m tests.demo up|down`: the whole product on a cluster of its own, told as the commands that a user would type.

`up` ends with the proof that the restored volume is the one that was lost, and leaves the cluster running; `down` removes it.
The steps are in steps.py; this file only makes and removes what they run on.
"""

from __future__ import annotations

import argparse
import sys
import time

from tests.demo import stage, steps
from tests.demo.terminal import DemoFailed


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.demo", description=__doc__)
    parser.add_argument("action", choices=["up", "down"])
    action = parser.parse_args().action
    if action == "down":
        stage.remove()
        return 0
    started = time.monotonic()
    try:
        stage.remove()
        scene = stage.make()
        steps.play(scene)
    except DemoFailed as failure:
        print(f"\ndemo: {failure}", file=sys.stderr)
        print("The cluster stays up to be looked at; `make demo-down` removes it.", file=sys.stderr)
        return 1
    print(f"\nThe demo took {time.monotonic() - started:.0f} s. The cluster stays up:")
    print(f"  export KUBECONFIG={scene.terminal.kubeconfig}")
    print(f"  {stage.kubectl()} get backupsnapshots -A")
    print("`make demo-down` removes it.")
    return 0


sys.exit(main())
