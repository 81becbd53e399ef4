"""A real one-node Kubernetes, CSI storage and S3 servers on a bare Linux machine, for tests and the demo.

Nothing of the product imports this package. Start at `kind.py` (the program that answers kind's calls) and `node.py`
(what a node is made of); docs/contributing/cluster.md tells how to use it by hand.
"""
