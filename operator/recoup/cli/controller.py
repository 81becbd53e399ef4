"""`recoup controller`: runs the operator until it is told to stop. Started by the chart; by hand for development.

Wires the controller with the engine's stores and the process: signals, logs, settings from the environment.
"""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from recoup.api.backuplocation import S3
    from recoup.controller.runtime import Runtime
    from recoup.engine.stores.base import Store


@click.command("controller")
@click.option("--no-leader-election", is_flag=True, help="Work without the Lease: every replica works. Meant for tests.")
def command(*, no_leader_election: bool) -> int:
    """Run the operator: watch, plan, start movers, write statuses.

    Settings come from RECOUP_* variables (docs/installation.md); at least RECOUP_IMAGE, the image of the movers, and RECOUP_IDENTITY,
    this replica's name. The API server is found through the pod's service account, else through KUBECONFIG.

    \b
    By hand, against the cluster of the current context:
      RECOUP_IMAGE=localhost/recoup:dev RECOUP_IDENTITY=me recoup controller
    """  # click's mark for text that is not to be wrapped
    import faulthandler

    from msgspec import structs

    from recoup.controller.logs import Redactor, set_up_logging
    from recoup.controller.main import build_runtime
    from recoup.settings import from_environment

    faulthandler.enable()  # a crash of a native library must at least say where
    settings = from_environment(os.environ)
    if no_leader_election:
        settings = structs.replace(settings, leader_election=False)
    redactor = Redactor()
    set_up_logging(settings.log_level, redactor)
    runtime = build_runtime(settings, open_store=open_location, redactor=redactor)
    stop_on_signals(runtime)
    return runtime.run()


def stop_on_signals(runtime: Runtime) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: runtime.stop())


PATIENCE = 15.0
"""Seconds for which a look waits for a location: whoever waits for it is looked at again, and a restore goes on with another one."""


def open_location(s3: S3, credentials: dict[str, str]) -> Store:
    """The store of a BackupLocation, with credentials that stay in memory."""
    from recoup.engine.stores.base import Credentials, StoreOptions
    from recoup.engine.stores.registry import open_store

    given = Credentials(credentials["accessKeyID"], credentials["secretAccessKey"], credentials.get("sessionToken") or None)
    return open_store(
        s3.url,
        StoreOptions(
            endpoint_url=s3.endpoint,
            region=s3.region,
            path_style=s3.force_path_style or None,
            ca_bundle=_as_file(s3.ca_bundle) if s3.ca_bundle else None,
            credentials=given,
            patience=PATIENCE,
        ),
    )


def _as_file(certificates: str) -> str:
    """Certificates as the file that the S3 client wants; the same text gives the same file."""
    import hashlib

    path = Path(tempfile.gettempdir(), f"recoup-ca-{hashlib.sha256(certificates.encode()).hexdigest()[:32]}.pem")
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, delete=False) as fresh:
        fresh.write(certificates)
    Path(fresh.name).replace(path)
    return str(path)
