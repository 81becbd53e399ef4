"""`recoup handout-job`: brings a mover in a workload's namespace what it needs, as one Secret. Started by the controller.

Holds an API token that may create Secrets there, and nothing else. The Secret belongs to the mover's Job: where that is gone, or goes,
the cluster removes it.
"""

from __future__ import annotations

import time
from pathlib import Path

import click

from recoup.cli.options import report_option
from recoup.errors import Denied, RecoupError


@click.command("handout-job")
@click.option("--writer-keys", required=True, metavar="DIR", type=click.Path(), help="Keys of a vault's backup movers.")
@click.option("--credentials-dir", required=True, metavar="DIR", type=click.Path(), help="Credentials of the location.")
@click.option("--namespace", required=True, help="Where the mover is.")
@click.option("--job", required=True, help="Its Job, whose name the Secret gets.")
@click.option("--job-uid", required=True, help="The Job's uid: the Secret belongs to it.")
@report_option
def command(*, writer_keys: str, credentials_dir: str, namespace: str, job: str, job_uid: str, report: str | None) -> None:
    """Make the Secret of one mover that runs beside its workload. Run by the controller; running it again is harmless."""
    from recoup.controller.failures import AlreadyExists
    from recoup.controller.handout import build_mover_secret
    from recoup.controller.kube import ApiServer, load_configuration
    from recoup.controller.resources import SECRET
    from recoup.report import Report, write_report

    started = time.monotonic()
    done = Report(outcome="Failed", reason="InternalError")
    try:
        secret = build_mover_secret(namespace=namespace, job=job, job_uid=job_uid, files=collect(writer_keys, credentials_dir))
        try:
            ApiServer(load_configuration()).create(SECRET, secret)
            done.message = f"Secret {namespace}/{job} made"
        except AlreadyExists:  # by an earlier try: the name is this mover's alone
            done.message = f"Secret {namespace}/{job} was there"
        done.outcome, done.reason = "Succeeded", ""
        click.echo(done.message)
    except RecoupError as error:
        done.reason, done.message = error.reason, str(error)
        raise
    finally:
        done.duration = round(time.monotonic() - started, 3)
        if report is not None:
            write_report(report, done)


def collect(writer_keys: str, credentials_dir: str) -> dict[str, bytes]:
    """The Secret's entries: the file of the writer's keys, and those of the credentials. Raises NotFound, Invalid, Denied."""
    from recoup.engine.keys.roles import WriterKeys
    from recoup.engine.stores.base import CREDENTIAL_FILES

    files = WriterKeys.load(writer_keys).to_files()
    for name in CREDENTIAL_FILES:
        path = Path(credentials_dir, name)
        if path.is_file():
            files[name] = path.read_bytes()
        elif name != CREDENTIAL_FILES[-1]:
            message = f"the Secret that spec.s3.liveCredentialsSecretRef names has no entry {name}"
            raise Denied(message, reason="CredentialsMissing")
    return files
