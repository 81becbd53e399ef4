"""Keys of S3 servers: made at random, shown to nobody, written only to files with mode 0600."""

import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Credentials:
    """An access key and its secrets; printing one shows neither."""

    access_key: str
    secret_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)

    def write(self, path: Path, region: str) -> Path:
        """Write the file that AWS_SHARED_CREDENTIALS_FILE names, readable by its owner only."""
        lines = ["[default]", f"aws_access_key_id = {self.access_key}", f"aws_secret_access_key = {self.secret_key}", f"region = {region}"]
        if self.session_token:
            lines.append(f"aws_session_token = {self.session_token}")
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as output:
            output.write("\n".join(lines) + "\n")
        return path

    def environment(self) -> dict[str, str]:
        """The variables of the usual boto3 chain, for a child process."""
        variables = {"AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret_key}
        return variables | ({"AWS_SESSION_TOKEN": self.session_token} if self.session_token else {})


def fresh() -> Credentials:
    return Credentials(f"TEST{secrets.token_hex(8).upper()}", secrets.token_hex(20))
