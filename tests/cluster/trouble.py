"""The one error of the local cluster: what is wrong, and the next step that a person can take."""


class Trouble(Exception):
    """Shown as is, without a traceback."""

    def __init__(self, what: str, *, step: str = "") -> None:
        super().__init__(f"{what}\n  next: {step}" if step else what)
