"""Who may talk to the API server: a small authority, bearer tokens per component, kubeconfig files.

Tokens instead of client certificates where Kubernetes allows it; the kubelet's own port is the exception, so that no pod
can use it without a certificate. All files are 0600 in the cluster's folder.
"""

import base64
import datetime as dt
import ipaddress
import json
import secrets
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.cluster.network import Addresses

USERS: dict[str, tuple[str, ...]] = {
    "kubernetes-admin": ("system:masters",),
    "system:kube-controller-manager": (),
    "system:kube-scheduler": (),
    "system:kube-proxy": (),
    "csi": ("system:masters",),
    "dns": ("system:masters",),
}
"""User and groups; the node's user is added with the node's name."""

DAY = dt.timedelta(days=1)


def write_all(folder: Path, cluster: str, node_name: str, addresses: Addresses) -> None:
    """Write authority, certificates, token list, service-account key and one kubeconfig per user into `folder/pki`."""
    pki = folder / "pki"
    pki.mkdir(mode=0o700)
    authority = _Authority(f"recoup-{cluster}")
    _write(pki / "ca.crt", authority.pem())
    names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "localhost"]
    authority.issue(pki / "apiserver", "kube-apiserver", names=names, addresses=[addresses.node, addresses.api_service, "127.0.0.1"])
    authority.issue(pki / "kubelet-client", "kube-apiserver-kubelet-client", organization="system:masters")
    signing = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    _write(pki / "sa.key", _private(signing))
    _write(pki / "sa.pub", signing.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
    lines = []
    for user, groups in {**USERS, f"system:node:{node_name}": ("system:nodes",)}.items():
        token = secrets.token_hex(24)
        lines.append(f'{token},{user},{user},"{",".join(groups)}"')
        config = kubeconfig(cluster, addresses.server, authority.pem(), user, token)
        _write(kubeconfig_path(folder, user), json.dumps(config, indent=1).encode())
    _write(pki / "tokens.csv", "\n".join(lines).encode())


def kubeconfig_path(folder: Path, user: str) -> Path:
    return folder / "pki" / f"{user.replace(':', '-')}.kubeconfig"


def kubeconfig(cluster: str, server: str, authority: bytes, user: str, token: str) -> dict[str, object]:
    """A kubeconfig with the names kind gives: context, cluster and user `kind-NAME`."""
    name = f"kind-{cluster}"
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [{"name": name, "cluster": {"server": server, "certificate-authority-data": base64.b64encode(authority).decode()}}],
        "users": [{"name": name, "user": {"token": token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "preferences": {},
    }


class _Authority:
    """Signs the few certificates of one cluster."""

    def __init__(self, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
        builder = self._builder(self._subject, self._key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).add_extension(usage, critical=True)
        self._certificate = builder.sign(self._key, hashes.SHA256())

    def pem(self) -> bytes:
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    def issue(
        self, path: Path, name: str, *, organization: str = "", names: list[str] | None = None, addresses: list[str] | None = None
    ) -> None:
        """Write `path`.crt and `path`.key for serving (with names) and for calling (with an organization)."""
        key = ec.generate_private_key(ec.SECP256R1())
        parts = [x509.NameAttribute(NameOID.COMMON_NAME, name)]
        if organization:
            parts.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = self._builder(x509.Name(parts), key.public_key())
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        alternatives: list[x509.GeneralName] = [x509.DNSName(text) for text in names or []]
        alternatives += [x509.IPAddress(ipaddress.ip_address(text)) for text in addresses or []]
        if alternatives:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        _write(path.with_suffix(".crt"), builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        _write(path.with_suffix(".key"), _private(key))

    def _builder(self, subject: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self._subject).public_key(public)
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - DAY).not_valid_after(now + 365 * DAY)
        return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)


def _private(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _write(path: Path, data: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(data)
