"""`recoup evidence`: what was verified, drilled and destroyed, as signed in the log."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from recoup.cli.options import KeyOptions, Location, key_options, location_options, output_option
from recoup.errors import Usage

if TYPE_CHECKING:
    from recoup.engine.log.follow import Log
    from recoup.engine.proof import Proof


@click.command()
@location_options
@key_options
@click.option("--kind", metavar="NAME", help="Only entries of this kind: Verification, Drill, Shred.")
@output_option
def command(location: Location, keys: KeyOptions, kind: str | None, output: str) -> None:
    """Show what was verified, drilled and destroyed, newest last, each with its checked signature.

    Every line is an entry of the log that the vault's verifier key signed; the key's certificate leads to the root key in the vault's
    fingerprint. Give a key, or only --fingerprint and --vault: then nothing but the right to read the bucket is needed, and whoever
    checks cannot open any backup. Points are named as `recoup snapshots` does. -o json has the statement whole, and what to check the
    signature with: the public key, the entry's name and its digest.

    \b
    Example:
      recoup evidence --location s3://acme-backups/prod --fingerprint "$(cat shop.fingerprint)"
    """  # click's mark for text that is not to be wrapped is a real backspace
    from recoup.cli.output import emit_json, emit_table
    from recoup.engine.proof import read_proofs

    log = _open(location, keys)
    proofs = [proof for proof in read_proofs(log) if kind in (None, proof.kind)]
    if output == "json":
        emit_json([_fields(proof) for proof in proofs])
        return
    emit_table(("ENTRY", "TIME", "KIND", "RESULT", "SIGNED BY"), [_row(proof) for proof in proofs], right=("ENTRY",))


def _open(location: Location, keys: KeyOptions) -> Log:
    from recoup.engine.unlock import find_vault

    store = location.open()
    if keys.given:
        return keys.unlock(store).log
    if keys.fingerprint is None:
        raise Usage("say whose evidence it is to be: give a key, or --fingerprint as `recoup init` printed it")
    return find_vault(store, (), fingerprint=keys.fingerprint)


def _row(proof: Proof) -> tuple[str, ...]:
    return (str(proof.seq), proof.time, proof.kind, _result(proof), f"{proof.public_key[:16]} (generation {proof.generation})")


def _result(proof: Proof) -> str:
    said = proof.statement
    if proof.kind == "Verification":
        bad = len(said.get("damaged") or ())
        found = f"{bad} recovery points damaged" if bad else "good"
        healed = f", {said['healedObjects']} objects healed" if said.get("healedObjects") else ""
        log = f", {', '.join(said['log'])}" if said.get("log") else ""
        return f"level {said.get('level')}: {said.get('points')} points, {said.get('objects')} objects: {found}{healed}{log}"
    if proof.kind == "Drill":
        how = "passed" if said.get("passed") else f"failed ({said.get('reason')})"
        return f"{str(said.get('point'))[:16]}: {how}, {said.get('files')} files in {said.get('seconds')} s"
    return str(said.get("phase") or json.dumps(said)[:60])


def _fields(proof: Proof) -> dict[str, Any]:
    return {
        "entry": proof.seq,
        "name": proof.name,
        "digest": proof.digest,
        "time": proof.time,
        "kind": proof.kind,
        "statement": proof.statement,
        "signer": {"role": "verifier", "publicKey": proof.public_key, "generation": proof.generation},
    }
