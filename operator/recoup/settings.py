"""How this installation of the controller is set up: read once from the environment, passed down, never changed.

The chart (charts/recoup/templates/deployment.yaml) sets the variables; docs/installation.md explains them. Nothing else in the
code reads the environment.
"""

from collections.abc import Mapping

from msgspec import Struct

from recoup.errors import Usage

PREFIX = "RECOUP_"


class Settings(Struct, frozen=True, kw_only=True):
    """One variable per field: RECOUP_ and the field's name in capitals. Times in seconds."""

    image: str
    """Image of the movers; the chart gives the controller's own."""
    image_pull_policy: str = "IfNotPresent"
    image_pull_secrets: tuple[str, ...] = ()
    """Names of Secrets in the movers' namespace, separated by commas."""
    system_namespace: str = "recoup-system"
    movers_namespace: str = "recoup-movers"
    mover_service_account: str = "recoup-mover"
    keys_service_account: str = "recoup-keys"
    handout_service_account: str = "recoup-handout"
    live_namespaces: tuple[str, ...] = ()
    """Namespaces in which the chart gave the rights for movers of Live captures, separated by commas."""
    identity: str
    """This replica's name in the Lease and in Events; the pod's name."""
    leader_election: bool = True
    lease_name: str = "recoup-controller"
    workers: int = 8
    """Objects worked on at the same time."""
    resync: float = 600.0
    """Every object is looked at this often without any event, spread by ±10 %."""
    movers_total: int = 64
    """Backup movers at once in the whole cluster; restores are not counted and never wait."""
    movers_per_node: int = 4
    movers_per_namespace: int = 8
    """Namespace of the application, not of the movers."""
    waiting_snapshots: int = 64
    """Captured volumes of one namespace that wait for a mover before its further runs wait uncaptured."""
    http_address: str = "0.0.0.0"  # noqa: S104  # the kubelet and Prometheus come from outside the pod
    http_port: int = 8080
    """/healthz, /readyz, /metrics; 0 takes any free port."""
    log_level: str = "INFO"


def from_environment(environment: Mapping[str, str]) -> Settings:
    """Parse RECOUP_* variables. Raises Usage naming the variable for anything that is missing, unknown in form, or out of range."""
    values: dict[str, object] = {}
    for name, kind in Settings.__annotations__.items():
        variable = PREFIX + name.upper()
        text = environment.get(variable)
        if text is not None:
            values[name] = _parse(variable, text, kind)
    for name in ("image", "identity"):
        if not values.get(name):
            raise Usage(f"{PREFIX}{name.upper()} is not set; the chart sets it, by hand give for example {PREFIX}{name.upper()}=…")
    settings = Settings(**values)  # type: ignore[arg-type]  # each was parsed to its field's type
    _check(settings)
    return settings


def _parse(variable: str, text: str, kind: object) -> object:
    if kind is str:
        return text
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise Usage(f"{variable}={text!r} is not true or false")
        return text.lower() == "true"
    if kind is int or kind is float:
        try:
            return int(text) if kind is int else float(text)
        except ValueError:
            raise Usage(f"{variable}={text!r} is not a number") from None
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _check(settings: Settings) -> None:
    if not 1 <= settings.workers <= 32:
        raise Usage(f"RECOUP_WORKERS={settings.workers}: between 1 and 32")
    for name in ("movers_total", "movers_per_node", "movers_per_namespace", "waiting_snapshots"):
        if not 1 <= getattr(settings, name) <= 10_000:
            raise Usage(f"{PREFIX}{name.upper()}={getattr(settings, name)}: between 1 and 10000")
    if settings.resync < 1:
        raise Usage(f"RECOUP_RESYNC={settings.resync}: at least 1 second")
    if settings.log_level not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise Usage(f"RECOUP_LOG_LEVEL={settings.log_level!r}: DEBUG, INFO, WARNING or ERROR")
    if settings.system_namespace == settings.movers_namespace:
        raise Usage("RECOUP_SYSTEM_NAMESPACE and RECOUP_MOVERS_NAMESPACE must differ: the controller may read Secrets in the one only")
