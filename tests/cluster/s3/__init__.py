"""Real S3 servers (minio, versitygw) for tests and the demo, and a proxy in front of them that makes faults on request.

Start at `servers.py` (what a server is, how one is started) and `proxy.py` (faults); `fixtures.py` is what tests use;
docs/contributing/s3-and-csi.md shows all of it by example. Nothing of the product imports this package.
"""
