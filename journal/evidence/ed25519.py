"""Ed25519 by the package ``cryptography``, which only this module imports."""

from __future__ import annotations

from cryptography.exceptions import InternalError, InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)


def generate() -> bytes:
    """A new key, as PEM."""
    key = Ed25519PrivateKey.generate()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def load(pem: bytes) -> Ed25519PrivateKey:
    """The key in a PEM file; ValueError says why it cannot be used."""
    try:
        key = load_pem_private_key(pem, password=None)
    except TypeError:
        raise ValueError("the key is encrypted; only plain keys can be used") from None
    except (ValueError, UnsupportedAlgorithm, InternalError):  # the last: OpenSSL's own
        raise ValueError("there is no private key in this file") from None
    if isinstance(key, Ed25519PrivateKey):
        return key
    raise ValueError("the key is not of Ed25519")


def is_signed(public_key: bytes, signature: bytes, data: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, data)
    except (InvalidSignature, ValueError):
        return False
    return True
