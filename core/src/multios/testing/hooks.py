"""The conformance suite of hook plugins.

A plugin's tests subclass :class:`HooksSuite` and name the plugin, a module or an object::

    class TestTiming(HooksSuite):
        plugin = multios_hooks_timing
"""

from __future__ import annotations

import copy
import json
import time
from typing import Any, ClassVar

import pytest

from multios import hookspecs
from multios.model.container import Container, ContainerConfig, DriverIdentity
from multios.model.health import HealthCheck
from multios.plugins.hooks import Hooks


def make_container() -> Container:
    """A container's record as hooks see it."""
    kinds = ("isolation", "storage", "network", "security")
    return Container(
        id="c" * 64,
        name="suite",
        owner=0,
        config=ContainerConfig(name="suite", image="fake:1", command=("true",)),
        image_id="d" * 64,
        drivers={kind: DriverIdentity(kind, "fake", "multios-core", "0.1.0") for kind in kinds},
        created=time.time(),
    )


def make_spec() -> dict[str, Any]:
    """A small OCI runtime spec."""
    return {
        "ociVersion": "1.0.2",
        "hostname": "suite",
        "process": {"args": ["true"], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}},
        "root": {"path": "rootfs", "readonly": False},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc", "options": []}],
        "annotations": {},
        "linux": {"namespaces": [{"type": "pid"}, {"type": "mount"}], "maskedPaths": ["/proc/kcore"]},
    }


class HooksSuite:
    """What every hook plugin must do. Hooks that it does not implement are skipped."""

    plugin: ClassVar[Any]

    @pytest.fixture
    def hooks(self) -> Hooks:
        """Core's steps and the plugin."""
        hooks = Hooks()
        hooks.register(self.plugin, "suite")
        return hooks

    def implemented(self) -> set[str]:
        """The hooks that the plugin implements."""
        found = set()
        for name in dir(self.plugin):
            options = getattr(getattr(self.plugin, name, None), f"{hookspecs.PROJECT}_impl", None)
            if options:
                found.add(options.get("specname") or name)
        return found

    def require(self, hook: str) -> None:
        """Skip the test of a plugin that does not implement ``hook``."""
        if hook not in self.implemented():
            pytest.skip(f"does not implement {hook}")

    def test_every_hook_exists_with_these_arguments(self) -> None:
        Hooks().register(self.plugin, "suite")

    def test_it_implements_something(self) -> None:
        assert self.implemented()

    def test_events_of_any_kind_are_taken(self) -> None:
        self.require("multios_event")
        manager = Hooks()
        manager.register(self.plugin, "suite")
        for kind, action in (("container", "start"), ("image", "pull"), ("something new", "happened")):
            event = {
                "type": kind,
                "action": action,
                "id": "c" * 64,
                "name": "suite",
                "time": 0.0,
                "attributes": {},
            }
            # Not through Hooks.event: that would only log what is raised.
            self.plugin.multios_event(**_wanted(self.plugin.multios_event, {"event": event}))

    def test_health_checks_are_well_formed(self) -> None:
        self.require("multios_health_checks")
        checks = list(self.plugin.multios_health_checks())
        assert all(isinstance(check, HealthCheck) and check.subject and check.detail for check in checks)

    def test_an_amended_spec_is_still_plain_data(self, hooks: Hooks) -> None:
        self.require("multios_amend_spec")
        spec = make_spec()
        hooks.amend_spec(make_container(), spec)
        assert json.loads(json.dumps(spec)) == spec

    def test_authorizing_answers_for_any_method_and_changes_nothing(self) -> None:
        self.require("multios_authorize")
        for method in ("containers.list", "containers.create", "something.new"):
            parameters: dict[str, Any] = {"config": {"name": "suite"}}
            given = {"caller": 0, "method": method, "parameters": parameters}
            before = copy.deepcopy(parameters)
            answer = self.plugin.multios_authorize(**_wanted(self.plugin.multios_authorize, given))
            assert answer is None or (isinstance(answer, str) and answer)
            assert parameters == before


def _wanted(function: Any, given: dict[str, Any]) -> dict[str, Any]:
    """The arguments that the implementation takes; pluggy lets it leave some out."""
    import inspect

    return {name: given[name] for name in inspect.signature(function).parameters if name in given}
