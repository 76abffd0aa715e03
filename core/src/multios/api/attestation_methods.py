"""``containers.attest`` and ``attestations.verify``: what a container looked like, in the engine's words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multios.api.server import Call
    from multios.engine.engine import Engine


class ContainerAttestations:
    """``containers.attest``"""

    prefix = "containers"

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def attest(self, call: Call) -> Any:
        container = self._engine.registry.find(call.text("ref"), call.caller)
        (target,) = call.descriptors(1)
        return self._engine.attestation.attest(
            container, call.words("paths"), call.text("binding", ""), target
        )


class Attestations:
    """``attestations.*``"""

    prefix = "attestations"

    def __init__(self, engine: Engine) -> None:
        self._attestation = engine.attestation

    def verify(self, call: Call) -> Any:
        valid = self._attestation.verify(call.text("digest"), call.text("signature"))
        return {"valid": valid, "key": self._attestation.key_name()}
