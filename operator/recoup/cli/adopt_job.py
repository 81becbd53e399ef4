"""`recoup adopt-job`: hands out what lists the recovery points of vaults that were made elsewhere. Started by the controller.

Writes nothing at the location. One vault that can't be opened does not keep the others from being handed out; the report names it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from recoup.cli.options import KeyOptions, Location, location_options, report_option
from recoup.errors import KeyUnavailable, RecoupError, Retryable

if TYPE_CHECKING:
    from recoup.controller.kube import Kube
    from recoup.engine.adopt import Adopted
    from recoup.engine.keys.wraps import Unwrapper
    from recoup.engine.stores.base import Store
    from recoup.report import Report

_SHOWN = 5
NAMESPACE, NAMESPACE_UID, CLUSTER = "namespace", "namespaceUid", "clusterUid"
"""Labels of a vault, as a keys Job gives them."""
LONGEST = 63
"""Characters of a name or uid in a status."""


@click.command("adopt-job")
@location_options
@click.option("--key-file", "key_files", multiple=True, metavar="FILE", type=click.Path(), help="Key file; repeatable.")
@click.option("--keys-dir", metavar="DIR", type=click.Path(exists=True, file_okay=False), help="Folder of keys, each as DIR/NAME/key.")
@click.option("--vault", "vaults", multiple=True, required=True, metavar="HEX", help="A vault to open; repeatable.")
@click.option("--fingerprint", "fingerprints", multiple=True, metavar="TEXT", help="What a vault must lead to; repeatable.")
@click.option("--catalogue-namespace", required=True, help="Where the controller runs: gets the Secrets adopted-HEX.")
@report_option
def command(
    *, location: Location, key_files: tuple[str, ...], keys_dir: str | None, vaults: tuple[str, ...], fingerprints: tuple[str, ...],
    catalogue_namespace: str, report: str | None,
) -> None:  # fmt: skip
    """Open vaults that were made elsewhere, and hand out what lists their recovery points. Run by the controller; reads only."""
    from recoup.controller.kube import ApiServer, load_configuration
    from recoup.report import Report, write_report

    started = time.monotonic()
    done = Report(outcome="Failed", reason="InternalError")
    try:
        given = KeyOptions(key_files, keys_dir, (), (), None, None, trust_new=False)
        if not given.given or not (keks := given.read().opening):
            raise KeyUnavailable("there is no key: create the Secrets that spec.encryption.keys of the BackupLocation names")
        adopt(location.open(), ApiServer(load_configuration()), keks, vaults, fingerprints, catalogue_namespace, done)
        click.echo(done.message)
    except RecoupError as error:
        done.outcome, done.reason, done.message = "Failed", error.reason, str(error)
        raise
    finally:
        done.duration = round(time.monotonic() - started, 3)
        if report is not None:
            write_report(report, done)


def adopt(
    store: Store,
    kube: Kube,
    keks: Sequence[Unwrapper],
    vaults: tuple[str, ...],
    fingerprints: tuple[str, ...],
    namespace: str,
    done: Report,
) -> None:
    """Hand out one after the other; at the end raise the first failure if there was one, saying how many there were."""
    from recoup.engine.adopt import adopt_vault
    from recoup.engine.keys.text import decode_fingerprint
    from recoup.engine.unlock import parse_vault

    pins = dict(decode_fingerprint(text) for text in fingerprints)
    failed: list[tuple[str, RecoupError]] = []
    for vault in vaults:
        vault_id = parse_vault(vault)
        try:
            _hand_out(kube, namespace, vault, adopt_vault(store, vault_id, keks, pinned_root=pins.get(vault_id)))
        except Retryable:
            raise
        except RecoupError as error:
            failed.append((vault, error))
    if failed:
        shown = "; ".join(f"vault {vault}: {error}" for vault, error in failed[:_SHOWN])
        more = f"; and {len(failed) - _SHOWN} more" if len(failed) > _SHOWN else ""
        raise type(failed[0][1])(f"{len(failed)} of {len(vaults)} vaults can't be opened: {shown}{more}", reason=failed[0][1].reason)
    done.outcome, done.reason, done.message = "Succeeded", "", f"{len(vaults)} vaults opened"


def _hand_out(kube: Kube, namespace: str, vault: str, adopted: Adopted) -> None:
    from recoup.api.names import adopted_secret
    from recoup.controller.handout import build_role_secret, vault_notes, write_secret

    labels = adopted.labels
    whose = [labels.get(name, "")[:LONGEST] for name in (NAMESPACE, NAMESPACE_UID, CLUSTER)]  # empty for one of the command line
    write_secret(
        kube,
        build_role_secret(
            name=adopted_secret(vault),
            namespace=namespace,
            vault=vault,
            repository=adopted.catalogue.identity.repo_id.hex(),
            annotations=vault_notes(adopted.fingerprint, *whose),
            files=adopted.catalogue.to_files(),
        ),
    )
