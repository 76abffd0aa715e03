"""A daemon reduced to its supervisor, to be killed by a test: it runs a container and waits."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from multios.drivers.isolation import Stdio
from multios.model.mount import IdMap
from multios.supervisor.client import Supervisor

NAMESPACES = ("user", "mount", "pid", "network", "ipc", "uts", "cgroup")


def main() -> None:
    home, parent, script = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    supervisor = Supervisor(
        home / "supervisor.sock",
        home / "exits",
        parent,
        ["supervisor_launcher"],
        import_paths=[Path(__file__).parent],
        log=str(home / "complaints"),
    )
    supervisor.reserve("one", "supervisor_launcher", NAMESPACES, IdMap(100000))
    plan = {"argv": ["/bin/sh", "-c", script]}
    supervisor.launch("one", plan, (), Stdio(log_path=str(home / "one.log")))
    supervisor.start("one")
    print(json.dumps({"supervisor": supervisor.pid}), flush=True)
    time.sleep(60)


if __name__ == "__main__":
    main()
