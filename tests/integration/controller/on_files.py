"""`recoup controller` whose locations are one folder of this machine: for what the API server and the controller do, without a bucket."""

from __future__ import annotations

import os
from pathlib import Path

from recoup.api.backuplocation import S3
from recoup.cli import controller
from recoup.engine.stores.file import FileStore


def open_folder(_s3: S3, _credentials: dict[str, str]) -> FileStore:
    return FileStore(str(Path(os.environ["RECOUP_TEST_STORE"])))


if __name__ == "__main__":
    controller.open_location = open_folder  # type: ignore[assignment]  # a store as well
    controller.command()
