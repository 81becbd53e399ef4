"""The S3 servers of the tests and the fault proxy, seen through the real boto3."""
