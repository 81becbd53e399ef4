"""The running controller: the only package that imports kopf and kubernetes.

An event becomes an owner key (watch.py), the key waits in a queue (queue.py), a worker thread (worker.py) gathers what is there
(gather_*.py), asks the pure planner (plan/) and carries the answer out (apply.py). It starts movers and writes status; it never
reads backup content and holds no content key. main.py wires the parts.
"""
