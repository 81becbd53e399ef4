"""Options that several commands share, and the types they parse to.

`@location_options` hands the command a `location: Location`; `@key_options` hands it `keys: KeyOptions`; `@output_option` hands it
`output: "table" | "json"`; `@parallelism_option` hands it `parallelism: int | None`. Nothing here touches a store or reads a key.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from msgspec import structs

from recoup.errors import KeyUnavailable, Usage
from recoup.value import Value

if TYPE_CHECKING:
    from recoup.engine.keys.given import Given
    from recoup.engine.stores.base import Lock, Store, StoreOptions
    from recoup.engine.vault import Unlocked

Function = Callable[..., Any]

MAX_PARALLELISM = 32

LONGEST_LOCK = timedelta(days=3650)
_HOURS = {"h": 1, "d": 24, "w": 7 * 24, "y": 365 * 24}
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}


class Location(Value, frozen=True):
    """A location as given on the command line."""

    url: str
    endpoint_url: str | None
    region: str | None
    path_style: bool | None
    ca_bundle: str | None
    credentials_dir: str | None
    upload_limit: int | None
    download_limit: int | None
    object_lock: Lock | None = None

    def options(self) -> StoreOptions:
        from recoup.engine.stores.base import StoreOptions

        fields = {name: value for name, value in structs.asdict(self).items() if name != "url"}
        return StoreOptions(**fields)

    def open(self) -> Store:
        """The store; raises Usage for a URL that cannot be read. Connects to nothing yet."""
        from recoup.engine.stores.registry import open_store

        return open_store(self.url, self.options())


class KeyOptions(Value, frozen=True):
    """Which keys to use and which vault is meant. All may be absent; `unlock` says so.

    keys_dir: a folder with a folder per key. A key that is not there is missed only if none of the others opens the vault.
    """

    key_files: tuple[str, ...]
    keys_dir: str | None
    passphrase_files: tuple[str, ...]
    aws_kms: tuple[str, ...]
    vault: str | None
    fingerprint: str | None
    trust_new: bool

    @property
    def given(self) -> bool:
        """Whether there is any key to open a vault with."""
        return bool(self.key_files or self.keys_dir or self.passphrase_files or self.aws_kms)

    def read(self) -> Given:
        """Read the keys, of which there may be none. Raises KeyUnavailable, Invalid."""
        from recoup.engine.keys.given import find_keys, read_keys

        found = find_keys(Path(self.keys_dir))[0] if self.keys_dir else []
        return read_keys([*self.key_files, *found], self.passphrase_files, self.aws_kms)

    def unlock(self, store: Store, keys: Given | None = None) -> Unlocked:
        """Open the vault that is meant, with `keys` if they were read already; its log has been followed on return."""
        from recoup.engine.unlock import unlock

        if not self.given:
            raise Usage("no key: give --key-file FILE (made by `recoup keygen FILE`), --passphrase-file FILE or --aws-kms ARN")
        given = self.read() if keys is None else keys
        try:
            return unlock(store, given, vault=self.vault, fingerprint=self.fingerprint, trust_new=self.trust_new)
        except KeyUnavailable as error:
            raise self._with_missing(error) from error

    def _with_missing(self, error: KeyUnavailable) -> KeyUnavailable:
        """The same error with the names of the keys that were not there to be tried."""
        from recoup.engine.keys.given import find_keys

        missing = find_keys(Path(self.keys_dir))[1] if self.keys_dir else []
        return KeyUnavailable(f"{error}; not there to be tried: {', '.join(missing)}") if missing else error


class ByteSize(click.ParamType[int]):
    """A number of bytes: 1048576, 10MB, 512KiB, 50Mi, 1GiB."""

    name = "size"

    def __init__(self, *, zero: bool = False) -> None:
        """`zero`: nothing is a size, too."""
        self._zero = zero

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) *([KMGT]I?)?B?", str(value).strip().upper())
        size = int(float(match[1]) * _UNITS[match[2] or ""]) if match else 0
        if size < 0 or (not size and not (self._zero and match)):
            self.fail(f"{value!r} is not a size; write for example 500000, 512KiB, 10MB or 1GiB", param, ctx)
        return size


class LockType(click.ParamType["Lock"]):
    """An object lock: compliance:30d, governance:2w."""

    name = "lock"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Lock:
        from recoup.engine.stores.base import Lock

        if isinstance(value, Lock):
            return value
        mode, _, period = str(value).partition(":")
        match = re.fullmatch(r"([1-9][0-9]{0,6})([hdwy])", period.lower())
        if mode.lower() not in {"compliance", "governance"} or match is None:
            self.fail(f"{value!r} is not an object lock; write for example compliance:30d or governance:8w", param, ctx)
        length = timedelta(hours=int(match[1]) * _HOURS[match[2]])
        if length > LONGEST_LOCK:
            self.fail(f"{value!r}: a lock longer than {LONGEST_LOCK.days} days is taken for a mistake", param, ctx)
        return Lock(mode.upper(), length)


def location_options(function: Function) -> Function:
    """--location and how to reach it."""
    credentials = (
        "Directory with the files accessKeyID, secretAccessKey and, if there is one, sessionToken; read again when they change. "
        "[default: the usual AWS configuration]"
    )
    style = "How the bucket stands in S3 requests. [default: path style with --endpoint-url]"
    file, directory = click.Path(exists=True, dir_okay=False), click.Path(exists=True, file_okay=False)
    lock = (
        "Lock what is written, as compliance:30d or governance:30d: until then the provider refuses to delete it. Older versions of what "
        "is read must be readable. The bucket must have object lock enabled."
    )
    options = (
        _option("--location", "url", "URL", "file:///directory or s3://bucket/prefix.", required=True, envvar="RECOUP_LOCATION"),
        _option("--endpoint-url", "endpoint_url", "URL", "S3 server, where it is not AWS.", envvar="AWS_ENDPOINT_URL_S3"),
        _option("--region", "region", "NAME", "S3 region. [default: that of the AWS configuration, else us-east-1]"),
        click.option("--path-style/--virtual-host-style", "path_style", default=None, help=style),
        _option("--ca-bundle", "ca_bundle", "FILE", "Certificates (PEM) to trust for the S3 server.", type=file),
        _option("--credentials-dir", "credentials_dir", "DIR", credentials, type=directory),
        _option("--upload-limit", "upload_limit", "SIZE", "Bytes a second to send at most, as 10MB or 50Mi.", type=ByteSize()),
        _option("--download-limit", "download_limit", "SIZE", "Bytes a second to fetch at most, as 10MB or 50Mi.", type=ByteSize()),
        _option("--object-lock", "object_lock", "MODE:TIME", lock, type=LockType()),
    )

    @functools.wraps(function)
    def call(*args: Any, **values: Any) -> Any:
        fields = {name: values.pop(name) for name in Location.__struct_fields__}
        return function(*args, location=Location(**fields), **values)

    return _apply(options, call)


def key_options(function: Function) -> Function:
    """--key-file, --passphrase-file, --aws-kms, --vault, --fingerprint, --trust-new."""
    vault = "The vault, where the location holds several and the key file names none of them."
    fingerprint = "Fingerprint that `recoup init` printed, where the key file does not carry it."
    keys = "Directory of keys, each as DIR/NAME/key. One that is missing is told only if none of the others opens the vault."
    trust = "Accept the vault though its fingerprint is not known. Only if you are sure that nobody planted it."
    options: tuple[Callable[[Function], Function], ...] = (
        opening_options("", "Key file; may be given several times."),
        _option("--keys-dir", "keys_dir", "DIR", keys, type=click.Path(exists=True, file_okay=False)),
        _option("--vault", "vault", "HEX", vault),
        _option("--fingerprint", "fingerprint", "TEXT", fingerprint),
        click.option("--trust-new", is_flag=True, help=trust),
    )

    @functools.wraps(function)
    def call(*args: Any, **values: Any) -> Any:
        fields = {name: values.pop(name) for name in KeyOptions.__struct_fields__}
        return function(*args, keys=KeyOptions(**fields), **values)

    return _apply(options, call)


def opening_options(prefix: str, key_file: str) -> Callable[[Function], Function]:
    """--key-file, --passphrase-file and --aws-kms, or with `prefix` the same for a key that a vault is to get."""
    line = "File whose first line is the passphrase; - is stdin."
    kms = "ARN of an AWS KMS key; credentials as in the usual AWS configuration."
    file, or_stdin = click.Path(exists=True, dir_okay=False), click.Path(exists=True, dir_okay=False, allow_dash=True)
    stem = prefix.replace("-", "_")
    options = (
        _option(f"--{prefix}key-file", f"{stem}key_files", "FILE", key_file, multiple=True, type=file),
        _option(f"--{prefix}passphrase-file", f"{stem}passphrase_files", "FILE", line, multiple=True, type=or_stdin),
        _option(f"--{prefix}aws-kms", f"{stem}aws_kms", "ARN", kms, multiple=True),
    )
    return lambda function: _apply(options, function)


def recipient_option(function: Function) -> Function:
    """--recipient PUB."""
    text = "Public half of an offline recovery key; several times."
    return _option("--recipient", "recipients", "PUB", text, multiple=True)(function)


def output_option(function: Function) -> Function:
    """-o json|table."""
    choice = click.Choice(["table", "json"])
    return click.option("-o", "--output", type=choice, default="table", show_default=True, help="For people or for programs.")(function)


def parallelism_option(function: Function) -> Function:
    """--parallelism N as `parallelism: int | None`; None leaves the choice to the command."""
    text = (
        f"Objects on their way at the same time, up to {MAX_PARALLELISM}. More help where answers take long; each takes the memory of one "
        "object (16 MiB). [default: what suits the command]"
    )
    return _option("--parallelism", "parallelism", "N", text, type=click.IntRange(1, MAX_PARALLELISM))(function)


def report_option(function: Function) -> Function:
    """--report FILE."""
    text = "Write a JSON summary of at most 2 KiB there when the run ends, also when it fails."
    return _option("--report", "report", "FILE", text, type=click.Path(dir_okay=False))(function)


def _option(flag: str, name: str, metavar: str, text: str, **more: Any) -> Callable[[Function], Function]:
    return click.option(flag, name, metavar=metavar, help=text, **more)


def _apply(options: tuple[Callable[[Function], Function], ...], function: Function) -> Function:
    for option in reversed(options):
        function = option(function)
    return function
