"""What the kernel refuses, in words."""

from __future__ import annotations

import errno

from multios.errors import StepFailed


def failed(step: str, error: OSError) -> StepFailed:
    """The error that says which step the kernel refused, and what can be done."""
    reason = error.strerror or str(error)
    if error.errno == errno.ENOENT:
        return StepFailed(
            step, f"the nftables rules are missing ({reason})", "restart the daemon to repair them"
        )
    if error.errno == errno.EPERM:
        return StepFailed(step, reason, "the daemon needs CAP_NET_ADMIN")
    if error.errno in (errno.EOPNOTSUPP, errno.EPROTONOSUPPORT):
        return StepFailed(
            step, reason, "the kernel lacks bridge, veth or nftables: see `multios-container doctor`"
        )
    return StepFailed(step, reason, "see `multios-container doctor`")
