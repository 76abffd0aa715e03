"""The image debian:12 for engines of tests, made from the distribution's mirror once and kept for the next run."""

from __future__ import annotations

import fcntl
import os
import subprocess
from pathlib import Path

from multios.drivers.base import DriverContext
from multios.engine.images import Images
from multios.store.content import ContentStore
from multios_image_bootstrap import BootstrapSource, Settings
from private_engine import PrivateEngine

NAME = "debian:12"


def provide(engine: PrivateEngine, state: Path) -> str:
    """The image's name, once the engine has it. It is kept where plugins/image-bootstrap's tests keep theirs."""
    if engine.run("image", "inspect", NAME, status=None).returncode == 0:
        return NAME
    cache = Path(os.environ.get("MULTIOS_TEST_CACHE", "/var/cache/multios-tests")) / "bootstrap"
    cache.mkdir(parents=True, exist_ok=True)
    archive = state / "debian.tar"
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a content store has one process at a time, pytest may have several
        images = Images(ContentStore(cache), [], [BootstrapSource(Settings(), DriverContext(state, state))])
        images.ensure(NAME, lambda *_: None)
        subprocess.run(["tar", "-C", cache, "--exclude=./lock", "-cf", archive, "."], check=True)
    engine.run("image", "import", input=archive.read_bytes())
    archive.unlink()
    return NAME
