"""Steps fall to the chosen driver unless a plugin takes them; broadcasts reach every plugin, whatever one does."""

from __future__ import annotations

import inspect
import io
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from multios import hookspecs
from multios.drivers.base import DriverContext
from multios.drivers.isolation import Bundle, Stdio
from multios.errors import PluginError, Refused, StepFailed
from multios.hookspecs import hookimpl
from multios.model.container import Container
from multios.model.health import Health, HealthCheck
from multios.model.mount import Mount
from multios.model.network import Endpoint, Network
from multios.plugins import steps
from multios.plugins.hooks import Hooks
from multios.testing import fakes
from multios.testing.hooks import make_container, make_spec

SETTINGS = fakes.FakeSettings()
EVENT = {"type": "container", "action": "start", "id": "c", "name": "n", "time": 0.0, "attributes": {}}


@pytest.fixture
def container() -> Container:
    return make_container()


@pytest.fixture
def context(tmp_path: Path) -> DriverContext:
    return DriverContext(tmp_path, tmp_path)


def plugin(**implementations: Any) -> Any:
    """An object with these hook implementations."""
    made = type("Plugin", (), {name: staticmethod(hookimpl(call)) for name, call in implementations.items()})
    return made()


def test_every_step_of_the_specification_has_a_default_and_a_typed_method() -> None:
    for name, spec in vars(hookspecs).items():
        options = getattr(spec, "multios_spec", None)
        if options is None:
            continue
        method = getattr(Hooks, name.removeprefix("multios_"))
        assert list(inspect.signature(method).parameters)[1:] == list(inspect.signature(spec).parameters), (
            name
        )
        if options["firstresult"]:
            assert getattr(steps, name).multios_impl["trylast"], name
        assert "Since " in (spec.__doc__ or ""), name


def test_steps_are_the_drivers_unless_somebody_takes_them(
    container: Container, context: DriverContext
) -> None:
    hooks = Hooks()
    storage, security = fakes.FakeStorage(SETTINGS, context), fakes.FakeSecurity(SETTINGS, context)
    isolation, network = fakes.FakeIsolation(SETTINGS, context), fakes.FakeNetwork(SETTINGS, context)
    net = Network("n", "net", "fake", "10.0.0.0/24", "10.0.0.1", "fake0")
    endpoint = Endpoint("e", container.id, "n", "10.0.0.2/24", "10.0.0.1", "02:00:00:00:00:01")
    network.create_network(net)

    assert hooks.prepare_rootfs(storage, container, "") == storage.mounts(container.id)
    spec = hooks.apply_security(security, container, make_spec(), "default")
    assert spec["annotations"]["multios.fake.profile"] == "default"
    assert hooks.create_container(isolation, container, Bundle(container.id, spec, (), Stdio())).pid == 0
    hooks.attach_network(network, container, net, endpoint, -1)
    network.check(net, endpoint, -1)
    hooks.start_container(isolation, container)
    assert isolation.state(container.id).status == "running"
    hooks.detach_network(network, container, net, endpoint)
    hooks.delete_container(isolation, container)
    hooks.release_rootfs(storage, container)
    assert not list(storage.walk()) and not network.endpoints["n"]


def test_a_plugin_may_take_a_step_over(container: Container, context: DriverContext) -> None:
    hooks = Hooks()
    mount = Mount("tmpfs", "tmpfs")
    hooks.register(plugin(multios_prepare_rootfs=lambda driver, container, parent: (mount,)), "own")
    storage = fakes.FakeStorage(SETTINGS, context)
    assert hooks.prepare_rootfs(storage, container, "") == (mount,)
    assert not storage.calls


def test_a_plugin_may_wrap_a_step(container: Container, context: DriverContext) -> None:
    seen: list[str] = []

    class Wrapper:
        @hookimpl(wrapper=True)
        def multios_prepare_rootfs(self, container: Container) -> Iterator[Any]:
            seen.append("before")
            result = yield
            seen.append("after")
            return result

    hooks = Hooks()
    hooks.register(Wrapper(), "wrapper")
    hooks.prepare_rootfs(fakes.FakeStorage(SETTINGS, context), container, "")
    assert seen == ["before", "after"]


def test_a_wrapper_that_loses_the_answer_is_an_error(container: Container, context: DriverContext) -> None:
    class Wrapper:
        @hookimpl(wrapper=True)
        def multios_prepare_rootfs(self) -> Iterator[Any]:
            yield

    hooks = Hooks()
    hooks.register(Wrapper(), "wrapper")
    with pytest.raises(StepFailed, match="multios_prepare_rootfs"):
        hooks.prepare_rootfs(fakes.FakeStorage(SETTINGS, context), container, "")


def test_a_drivers_error_comes_through_as_it_is(container: Container, context: DriverContext) -> None:
    storage = fakes.FakeStorage(fakes.FakeSettings(fail=("prepare",)), context)
    with pytest.raises(StepFailed, match="told to fail"):
        Hooks().prepare_rootfs(storage, container, "")


def test_a_misspelled_hook_is_refused_with_the_nearest_and_leaves_nothing() -> None:
    hooks = Hooks()
    with pytest.raises(PluginError) as caught:
        hooks.register(
            plugin(multios_evnt=lambda event: None, multios_event=lambda event: 1 / 0), "x", "multios-x 1.0"
        )
    assert "multios-x 1.0" in caught.value.cause and "'multios_evnt'" in caught.value.cause
    assert "'multios_event'" in caught.value.remedy
    assert hooks.names() == ["core"]
    hooks.event(EVENT)
    hooks.register(plugin(multios_event=lambda event: None), "x")


def test_a_wrong_argument_is_answered_with_the_signature_and_the_argument() -> None:
    def multios_event(event: Any, colour: str) -> None: ...

    hooks = Hooks()
    with pytest.raises(PluginError) as caught:
        hooks.register(plugin(multios_event=multios_event), "x", "multios-x 1.0")
    assert "colour" in caught.value.cause and "multios_event(event" in caught.value.cause
    assert "\n" not in caught.value.cause
    assert hooks.names() == ["core"]


@pytest.mark.parametrize("error", [RuntimeError("no"), SystemExit(1), Refused("no")])
def test_one_observer_cannot_stop_another(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[str] = []

    def fail(event: Any) -> None:
        raise error

    hooks = Hooks()
    for name, call in (("a", seen.append), ("bad", fail), ("c", seen.append)):
        hooks.register(
            plugin(multios_event=lambda event, call=call: call(event)), name, f"multios-{name} 1.0"
        )
    with caplog.at_level(logging.WARNING):
        hooks.event(EVENT)
    assert len(seen) == 2
    assert "bad (multios-bad 1.0)" in caplog.text


def test_an_observer_cannot_change_what_others_see() -> None:
    seen: list[Any] = []
    hooks = Hooks()
    for name in ("a", "b"):
        hooks.register(plugin(multios_event=lambda event: (seen.append(event["name"]), event.clear())), name)
    hooks.event(EVENT)
    assert seen == ["n", "n"]


def test_amending_reaches_everyone_and_stops_at_a_failure(container: Container) -> None:
    hooks, spec = Hooks(), make_spec()
    hooks.register(plugin(multios_amend_spec=lambda container, spec: spec.update(hostname="amended")), "good")
    hooks.amend_spec(container, spec)
    assert spec["hostname"] == "amended"
    hooks.register(plugin(multios_amend_spec=lambda spec: 1 / 0), "bad", "multios-bad 1.0")
    with pytest.raises(StepFailed, match=r"bad \(multios-bad 1.0\): ZeroDivisionError"):
        hooks.amend_spec(container, spec)


def test_a_policys_own_refusal_reaches_the_user(container: Container) -> None:
    def refuse(spec: Any) -> None:
        raise Refused("no containers on Sundays", "come back tomorrow")

    hooks = Hooks()
    hooks.register(plugin(multios_amend_spec=refuse), "sunday")
    with pytest.raises(Refused, match="Sundays"):
        hooks.amend_spec(container, make_spec())


def test_authorizing_one_refusal_is_enough_and_a_failure_refuses() -> None:
    hooks = Hooks()
    assert hooks.authorize(1000, "containers.create", {}) is None
    hooks.register(plugin(multios_authorize=lambda caller: None), "yes")
    assert hooks.authorize(1000, "containers.create", {}) is None
    hooks.register(plugin(multios_authorize=lambda caller: "not you" if caller == 1000 else None), "no")
    assert hooks.authorize(1000, "containers.create", {}) == "not you"
    assert hooks.authorize(0, "containers.create", {}) is None
    hooks.register(plugin(multios_authorize=lambda caller: 1 / 0), "bad", "multios-bad 1.0")
    assert "bad (multios-bad 1.0) could not decide" in str(hooks.authorize(0, "containers.create", {}))


@pytest.mark.parametrize("answer", ["", False, 0, ()])
def test_any_answer_but_none_refuses(answer: object) -> None:
    hooks = Hooks()
    hooks.register(plugin(multios_authorize=lambda caller: answer), "odd")
    assert hooks.authorize(0, "containers.list", {})


def test_a_policy_cannot_change_what_it_judges() -> None:
    parameters = {"config": {"name": "a"}}
    hooks = Hooks()
    hooks.register(plugin(multios_authorize=lambda parameters: parameters["config"].clear()), "sly")
    hooks.authorize(0, "containers.create", parameters)
    assert parameters == {"config": {"name": "a"}}


def test_health_checks_come_with_their_source_and_failures_are_findings() -> None:
    good = HealthCheck("thing", Health.OK, "fine")
    hooks = Hooks()
    hooks.register(plugin(multios_health_checks=lambda: [good]), "good", "multios-good 1.0")
    hooks.register(plugin(multios_health_checks=lambda: (1 / 0 for _ in "x")), "lazy")
    hooks.register(plugin(multios_health_checks=lambda: ["fine"]), "odd")
    findings = dict(hooks.health_checks())
    assert findings["good (multios-good 1.0)"] == good
    assert findings["lazy"].health == Health.FAIL and "ZeroDivisionError" in findings["lazy"].detail
    assert findings["odd"].health == Health.FAIL and "'fine' is no HealthCheck" in findings["odd"].detail


def test_tracing_says_who_was_called_and_how_it_ended(
    container: Container,
    context: DriverContext,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    stream = io.StringIO()
    hooks = Hooks(trace=stream)
    hooks.register(plugin(multios_event=lambda event: 1 / 0), "bad")
    hooks.register(plugin(multios_prepare_rootfs=lambda driver: None), "looks")
    hooks.prepare_rootfs(fakes.FakeStorage(SETTINGS, context), container, "")
    hooks.event(EVENT)
    first, second = stream.getvalue().splitlines()
    assert first.startswith("multios: multios_prepare_rootfs: looks, core: done in ")
    assert second.startswith("multios: multios_event: bad: raised ZeroDivisionError in ")
    monkeypatch.setenv("MULTIOS_TRACE_PLUGINS", "1")
    hooks = Hooks()
    hooks.register(plugin(multios_event=lambda event: None), "quiet")
    hooks.event(EVENT)
    assert "multios_event: quiet: done" in capsys.readouterr().err


def test_hooks_are_called_from_many_threads_at_once() -> None:
    seen: list[int] = []
    stream = io.StringIO()
    hooks = Hooks(trace=stream)
    hooks.register(plugin(multios_event=lambda event: seen.append(1)), "a")
    threads = [threading.Thread(target=lambda: [hooks.event(EVENT) for _ in range(50)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 400
    assert stream.getvalue().count("multios_event: a: done") == 400


class _Broken:
    def hook_plugins(self) -> tuple[list[Any], list[PluginError]]:
        return [], [PluginError("hooks plugin 'x' of multios-x 1.0 is broken: no", "reinstall it")]


def test_a_broken_hook_plugin_is_a_warning_that_names_its_distribution(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        hooks = Hooks(_Broken())  # type: ignore[arg-type]
    assert "multios-x 1.0" in caplog.text
    assert [error.cause for error in hooks.refused] == ["hooks plugin 'x' of multios-x 1.0 is broken: no"]
