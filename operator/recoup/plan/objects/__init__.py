"""Builders of the objects that Recoup creates: plain arguments in, the JSON of a Kubernetes object out.

No decision is taken here and nothing observed is looked up; plan/capture.py, plan/restore.py and their neighbours decide what is built.
"""
