"""A CSI driver for tests on btrfs: instant, truly point-in-time snapshots of filesystem and block volumes, on one node.

Start at `launch.py` (what a cluster runs), `driver.py` (the process) and `volumes.py` (what volumes are);
docs/contributing/s3-and-csi.md tells what it offers and what is special about it. Not for production.
"""
