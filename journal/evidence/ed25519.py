"""Ed25519 by the package ``cryptography``, which is imported here and nowhere else."""

from __future__ import annotations

from cryptography.exceptions import InternalError, InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)


class PrivateKey:
    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public_key: bytes = key.public_key().public_bytes_raw()

    def sign(self, data: bytes) -> bytes:
        return self._key.sign(data)

    def pem(self) -> bytes:
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def generate() -> PrivateKey:
    return PrivateKey(Ed25519PrivateKey.generate())


def load(pem: bytes) -> PrivateKey:
    """The key in a PEM file; ValueError says why there is none that can be used."""
    try:
        key = load_pem_private_key(pem, password=None)
    except TypeError:
        raise ValueError("the key is encrypted; only plain ones can be used") from None
    except (ValueError, UnsupportedAlgorithm, InternalError):  # the last: OpenSSL's own
        raise ValueError("there is no private key in this file") from None
    if isinstance(key, Ed25519PrivateKey):
        return PrivateKey(key)
    raise ValueError("the key is not of Ed25519")


def is_signed(public_key: bytes, signature: bytes, data: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, data)
    except (InvalidSignature, ValueError):
        return False
    return True
