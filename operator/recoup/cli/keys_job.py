"""`recoup keys-job`: makes or unwraps a vault's keyring and hands each role its part as a Secret. Started by the controller.

The one mover with an API token. It forgets what it made: only the Secrets leave it. The catalogue's Secret is written last,
because its presence says that the vault is ready.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from recoup.cli.options import Location, location_options, report_option
from recoup.errors import Invalid, RecoupError, Usage

if TYPE_CHECKING:
    from recoup.controller.kube import Kube
    from recoup.engine.vault import Provisioned


@click.command("keys-job")
@location_options
@click.option("--key-file", "key_files", multiple=True, metavar="FILE", type=click.Path(), help="Key file; repeatable.")
@click.option("--recipient", "recipients", multiple=True, metavar="TEXT", help="Public half of an offline key; repeatable.")
@click.option("--vault", required=True, metavar="HEX", help="The vault to make or to open.")
@click.option("--namespace", required=True, help="The namespace whose vault it is.")
@click.option("--namespace-uid", required=True, help="Its uid: a namespace made anew under the name gets another vault.")
@click.option("--cluster-uid", default="", help="Of which cluster it is: uid of its namespace kube-system.")
@click.option("--writer-namespace", required=True, help="Where movers run: gets the Secrets writer-HEX and maintenance-HEX.")
@click.option("--catalogue-namespace", required=True, help="Where the controller runs: gets the Secret catalogue-HEX.")
@report_option
def command(
    *, location: Location, key_files: tuple[str, ...], recipients: tuple[str, ...], vault: str, namespace: str, namespace_uid: str,
    cluster_uid: str, writer_namespace: str, catalogue_namespace: str, report: str | None,
) -> None:  # fmt: skip
    """Make the keys of a vault and hand each role its part. Run by the controller, once per vault; running it again is harmless."""
    from recoup.controller.kube import ApiServer, load_configuration
    from recoup.report import Report, write_report

    started = time.monotonic()
    done = Report(outcome="Failed", reason="InternalError")
    try:
        labels = {"namespace": namespace, "namespaceUid": namespace_uid} | ({"clusterUid": cluster_uid} if cluster_uid else {})
        provisioned = make_keys(location, key_files, recipients, vault, labels)
        hand_out(ApiServer(load_configuration()), provisioned, vault, labels, writer_namespace, catalogue_namespace)
        done.outcome, done.reason, done.id = "Succeeded", "", provisioned.fingerprint
        done.message = f"vault {vault} {'made' if provisioned.created else 'opened'}; {provisioned.fingerprint}"
        click.echo(done.message)
    except RecoupError as error:
        done.reason, done.message = error.reason, str(error)
        raise
    finally:
        done.duration = round(time.monotonic() - started, 3)
        if report is not None:
            write_report(report, done)


def make_keys(
    location: Location, key_files: tuple[str, ...], recipients: tuple[str, ...], vault: str, labels: dict[str, str]
) -> Provisioned:
    """Make or open the vault. Raises RecoupError with the reason that the condition shows."""
    from recoup.engine.keys.kek import Recipient
    from recoup.engine.keys.keyfile import read_key_file
    from recoup.engine.unlock import parse_vault
    from recoup.engine.vault import provision

    if not key_files and not recipients:
        raise Usage("no key: give --key-file, --recipient, or both")
    vault_id = parse_vault(vault)
    files = [read_key_file(Path(name)) for name in key_files]
    pins = {root for file in files if (root := file.pins.get(vault_id)) is not None}
    if len(pins) > 1:
        raise Invalid(
            f"the key files name different root keys for vault {vault}: one of them is not of this location", reason="RootMismatch"
        )
    return provision(
        location.open(),
        [file.kek for file in files],
        [Recipient.from_text(text) for text in recipients],
        vault_id=vault_id,
        labels=labels,
        pinned_root=next(iter(pins), None),
    )


def hand_out(
    kube: Kube, provisioned: Provisioned, vault: str, labels: dict[str, str], writer_namespace: str, catalogue_namespace: str
) -> None:
    """Write the three Secrets, the catalogue's last: it says which roles got theirs.

    Those of writer and maintenance are of no use once their namespace is gone, and go with it. The catalogue's stays: with it a restore
    elsewhere finds the recovery points of a namespace that is no more.
    """
    from recoup.api.names import catalogue_secret, maintenance_secret, writer_secret
    from recoup.controller.handout import ROLES, build_role_secret, handed_out, vault_notes, write_secret

    namespace, namespace_uid = labels["namespace"], labels["namespaceUid"]
    annotations = vault_notes(provisioned.fingerprint, namespace, namespace_uid, labels.get("clusterUid", "")) | {ROLES: handed_out()}
    with_namespace = (namespace, namespace_uid)
    repository = provisioned.catalogue.identity.repo_id.hex()
    for name, place, files, goes_with in (
        (writer_secret(vault), writer_namespace, provisioned.writer.to_files(), with_namespace),
        (maintenance_secret(vault), writer_namespace, provisioned.maintenance.to_files(), with_namespace),
        (catalogue_secret(vault), catalogue_namespace, provisioned.catalogue.to_files(), None),
    ):
        secret = build_role_secret(
            name=name, namespace=place, vault=vault, repository=repository, annotations=annotations, files=files, goes_with=goes_with
        )
        write_secret(kube, secret)
