from tests.cluster.s3.fixtures import *  # noqa: F403 - fixtures are found by name
