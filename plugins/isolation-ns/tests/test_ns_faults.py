"""A fault at every step of a create, start or exec leaves nothing behind and is named."""

from __future__ import annotations

import contextlib
import inspect
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from multios.drivers.isolation import IsolationDriver
from multios.errors import NotFound, StepFailed
from multios.supervisor import mounts
from multios.supervisor.client import Supervisor
from multios.testing.isolation_box import Box, IsolationFixtures, eventually, traces
from multios_isolation_ns import launch, plan
from multios_isolation_ns.driver import NamespaceIsolation


class FailingIsolation(NamespaceIsolation):
    """The driver with the launcher that fails where it is told to."""

    launcher = "failing_launch"


def steps_of(function: Any) -> list[str]:
    """The names of the steps that a function of the launcher goes through."""
    return list(dict.fromkeys(re.findall(r'_step\("([^"]+)"', inspect.getsource(function))))


def open_descriptors() -> Counter[str]:
    """What this process has open of mounts, namespaces, processes and files."""
    links: Counter[str] = Counter()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            links[os.readlink(f"/proc/self/fd/{name}")] += 1
    kept = (
        "socket:",
        "/proc/",
        "anon_inode:[event",
    )  # connections to the supervisor are there for the next time
    return Counter({link: count for link, count in links.items() if not link.startswith(kept)})


@pytest.mark.needs_root
class TestFaults(IsolationFixtures):
    driver_type = FailingIsolation
    import_paths = (Path(__file__).parent,)

    @pytest.mark.parametrize("step", [*steps_of(launch.furnish), *steps_of(launch.leave)])
    def test_a_create_that_fails_is_undone(
        self, box: Box, cgroup_parent: str, tmp_path: Path, step: str
    ) -> None:
        box.spec["hostname"] = f"fail:{step}"
        before, opened = traces(cgroup_parent), open_descriptors()
        with pytest.raises(StepFailed) as caught:
            box.create()
        assert caught.value.step == step and "Input/output error" in caught.value.cause
        eventually(lambda: traces(cgroup_parent) == before, "mounts and cgroups are gone")
        assert not open_descriptors() - opened
        assert not list((tmp_path / "runtime").iterdir())
        with pytest.raises(NotFound):
            box.driver.state(box.id)

    @pytest.mark.parametrize("step", sorted(set(steps_of(launch.execute)) - {"take console"}))
    def test_a_start_that_fails_ends_the_container(self, box: Box, cgroup_parent: str, step: str) -> None:
        box.spec["hostname"] = f"fail:{step}"
        if step == "name the init":
            box.spec["annotations"] = {**box.spec.get("annotations", {}), plan.INIT_ANNOTATION: "true"}
        before = traces(cgroup_parent)
        pid = box.create().pid
        with pytest.raises(StepFailed) as caught:
            box.start()
        assert caught.value.step == step
        box.driver.delete(box.id)
        eventually(lambda: not os.path.exists(f"/proc/{pid}"), "the process is gone")
        eventually(lambda: traces(cgroup_parent) == before, "the cgroup is removed")

    @pytest.mark.parametrize("step", steps_of(launch.enter))
    def test_an_exec_that_fails_leaves_the_container_alone(
        self, box: Box, supervisor: Supervisor, step: str
    ) -> None:
        box.process["args"] = ["sleep", "100"]
        box.create()
        box.start()
        with pytest.raises(StepFailed) as caught:
            box.exec(supervisor, "true", env=["PATH=/bin", f"FAIL={step}"])
        assert caught.value.step == step
        assert box.driver.state(box.id).status == "running"
        eventually(lambda: len(box.driver.processes(box.id)) == 1, "the exec'ed process is gone")

    @pytest.mark.parametrize("place", ["make_rootfs", "make_bind"])
    def test_a_mount_that_fails_is_undone(
        self, box: Box, cgroup_parent: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
    ) -> None:
        def broken(*_: Any) -> int:
            raise StepFailed("mount", "injected")

        box.bind(tmp_path, "/data", "rw")
        monkeypatch.setattr(mounts, place, broken)
        before, opened = traces(cgroup_parent), open_descriptors()
        with pytest.raises(StepFailed, match="injected"):
            box.create()
        eventually(lambda: traces(cgroup_parent) == before, "mounts and cgroups are gone")
        assert not open_descriptors() - opened

    def test_a_descriptor_is_not_left_by_a_container_that_went_well(
        self, driver: IsolationDriver, box: Box
    ) -> None:
        opened = open_descriptors()
        box.run()
        driver.delete(box.id)
        assert not open_descriptors() - opened
