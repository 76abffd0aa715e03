"""The submitter's key: Ed25519 (RFC 8032), made at first use, in a file that only its user reads."""

from __future__ import annotations

import hashlib
import os
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING

from multios.errors import InvalidInput, Refused
from multios_labs.progress import data_directory

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_FILE = "submitter.key"


def private_key() -> Ed25519PrivateKey:
    """The key of who runs this."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # deferred: 30 ms

    file = data_directory() / _FILE
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not file.exists():
        temporary = file.with_name(f".{_FILE}.{secrets.token_hex(8)}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, Ed25519PrivateKey.generate().private_bytes_raw())
            with suppress(FileExistsError):
                os.link(temporary, file)
        finally:
            os.close(descriptor)
            temporary.unlink()
    status = file.stat()
    if status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise Refused(f"{file} can be read by others", f"chmod 600 {file}")
    try:
        return Ed25519PrivateKey.from_private_bytes(file.read_bytes())
    except ValueError:
        raise InvalidInput(f"{file} is damaged", "remove it: the next submission makes another") from None


def sign(data: bytes) -> tuple[str, str]:
    """The signature and the public key, both in hexadecimal."""
    key = private_key()
    return key.sign(data).hex(), key.public_key().public_bytes_raw().hex()


def is_signed(data: bytes, signature: str, public: str) -> bool:
    """Whether the owner of the public key has signed ``data``."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)).verify(bytes.fromhex(signature), data)
    except (ValueError, InvalidSignature):
        return False
    return True


def fingerprint(public: str) -> str:
    """A public key's short name."""
    return hashlib.sha256(public.encode()).hexdigest()[:16]
