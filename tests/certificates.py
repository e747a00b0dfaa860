"""Keys and certificates of nobody, as content credentials are signed with."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


def write_chain(folder: Path) -> tuple[Path, Path]:
    """The files of a key, and of its certificate and its issuer's: "painter" and "root"."""
    root, own = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    chain = [
        certificate("painter", own, "root", root, authority=False),
        certificate("root", root, "root", root, authority=True),
    ]
    key, certificates = folder / "key.pem", folder / "chain.pem"
    key.write_bytes(own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    certificates.write_bytes(b"".join(one.public_bytes(Encoding.PEM) for one in chain))
    return key, certificates


def certificate(
    subject: str, key: Any, issuer: str, issuer_key: Any, authority: bool
) -> x509.Certificate:
    """One that C2PA takes: of an authority, or of who signs."""

    def name(of: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, of)])

    usage = dict.fromkeys(
        [
            *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
            *("key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
        ],
        False,
    )
    usage |= {"key_cert_sign": True} if authority else {"digital_signature": True}
    now = datetime.now(timezone.utc)
    made = (
        x509.CertificateBuilder(name(issuer), name(subject), key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(authority, None), critical=True)
        .add_extension(x509.KeyUsage(**usage), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), False
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
    )
    if not authority:
        purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
        made = made.add_extension(purpose, critical=False)
    return made.sign(issuer_key, hashes.SHA256())
