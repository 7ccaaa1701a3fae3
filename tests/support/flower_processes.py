"""What Flower's processes are started with, and whether all of them have ended."""

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from deployments.processes import Certificates

LEAVE_SECONDS = 30.0


@contextmanager
def nothing_left(patch: pytest.MonkeyPatch) -> Iterator[None]:
    """At the end, no process is left of those that were started inside, directly or not: all inherit a variable."""
    value = uuid.uuid4().hex
    patch.setenv("FEDKD_TEST", value)
    yield
    deadline = time.monotonic() + LEAVE_SECONDS
    while (left := marked(f"FEDKD_TEST={value}")) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left == []


def marked(text: str) -> list[str]:
    found = []
    for process in Path("/proc").iterdir():
        try:
            if text.encode() in (process / "environ").read_bytes().split(b"\0"):
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


def key_pair(path: Path) -> Path:
    """The file of a private key as ``ssh-keygen -t ecdsa -b 384`` makes it; that of the public one ends in .pub."""
    key = ec.generate_private_key(ec.SECP384R1())
    openssh = serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    path.with_suffix(".pub").write_bytes(key.public_key().public_bytes(*openssh))
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH
    path.write_bytes(key.private_bytes(pem, form, serialization.NoEncryption()))
    return path


def certificates(folder: Path) -> Certificates:
    """A certificate authority, and a certificate by it for a server at 127.0.0.1."""
    authority, server = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fedkd test authority")])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])

    def signed(name: x509.Name, key: ec.EllipticCurvePrivateKey, extension: x509.ExtensionType) -> bytes:
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder(issuer, name, key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=1))
        builder = builder.add_extension(extension, critical=True)
        return builder.sign(authority, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    files = Certificates(folder / "ca.crt", folder / "server.pem", folder / "server.key")
    files.ca.write_bytes(signed(issuer, authority, x509.BasicConstraints(ca=True, path_length=None)))
    files.server.write_bytes(signed(subject, server, names))
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    files.key.write_bytes(server.private_bytes(pem, form, serialization.NoEncryption()))
    return files
