"""The conformance suite of orchestrators.

An orchestrator's tests subclass :class:`OrchestratorDriverSuite` and name the driver class; where its services need something
else than the image ``debian:12``, they override ``container``.
"""

from __future__ import annotations

import copy
import socket
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from io import BytesIO
from itertools import islice
from tempfile import TemporaryFile
from typing import Any, ClassVar

import pytest

from multios.drivers.base import Capability
from multios.drivers.orchestrator import (
    VERBS,
    Action,
    ApplyOptions,
    CopyBounds,
    DestroyOptions,
    OrchestratorDriver,
    Place,
    PlanOptions,
)
from multios.errors import MultiosError, NotFound, Unsupported
from multios.model.app import App, AppState, Dependency, Service
from multios.model.course import RUNNING, STOPPED, Course, CourseMachine
from multios.testing.base import DriverSuite

_WEB = Place("web")
_INSIDE: Mapping[Capability, tuple[Callable[[OrchestratorDriver], object], ...]] = {
    Capability.EXEC: (lambda driver: driver.execute("suite", _WEB, ["true"], (0, 1, 2)),),
    Capability.LOGS: (lambda driver: driver.logs("suite", (), False, None),),
    Capability.COPY: (
        lambda driver: driver.copy_in("suite", _WEB, "/tmp", 0),
        lambda driver: driver.copy_out("suite", _WEB, "/tmp", 1),
    ),
    Capability.FORWARD: (lambda driver: driver.forward("suite", _WEB, 80, 0),),
    Capability.RESET: (lambda driver: driver.reset("suite", "", lambda *_: None),),
    Capability.SNAPSHOT: (lambda driver: driver.snapshot("suite", "kept", lambda *_: None),),
}
"""The calls that need each capability."""
ANYHOW = PlanOptions()
CLEAN = PlanOptions(remove_orphans=True)
METHODS = {
    Capability.RESET: ("reset",),
    Capability.SNAPSHOT: ("snapshot",),
    Capability.EXEC: ("execute",),
    Capability.LOGS: ("logs",),
    Capability.COPY: ("copy_in", "copy_out"),
    Capability.FORWARD: ("forward",),
    Capability.COURSES: (
        *("plan_course", "apply_course", "course_state", "stop_course", "destroy_course"),
        *("copy_out_of_course", "copy_into_course", "reset_course"),
    ),
}


class OrchestratorDriverSuite(DriverSuite):
    """What every orchestrator must do."""

    unit: ClassVar[str] = "container"
    """The kind of the actions that a service comes to."""

    @pytest.fixture
    def container(self) -> Mapping[str, Any]:
        """A container document that runs on."""
        return {"image": "debian:12", "command": ["sleep", "1000"]}

    @pytest.fixture
    def app(self, container: Mapping[str, Any]) -> App:
        """An app of two services; ``web`` depends on ``db``."""
        return App(
            "suite", (Service("web", container, depends_on=(Dependency("db"),)), Service("db", container))
        )

    @pytest.fixture
    def changed_app(self, app: App, container: Mapping[str, Any]) -> App:
        """The same with ``web`` changed, ``db`` gone and ``cache`` new."""
        other = {**container, "environment": {"CHANGED": "yes"}}
        return replace(app, services=(Service("web", other), Service("cache", container)))

    @pytest.fixture
    def course(self) -> Course:
        """A course of two students."""
        return Course(
            "suite", ("ada", "ben"), f"registry.example.org/suite@sha256:{'a' * 64}", prefetch=False
        )

    @pytest.mark.parametrize("capability", METHODS)
    def test_declares_exactly_what_it_implements(self, capability: Capability) -> None:
        for name in METHODS[capability]:
            implemented = getattr(self.driver_type, name) is not getattr(OrchestratorDriver, name)
            assert implemented == (capability in self.driver_type.capabilities)

    def test_planning_is_pure(self, driver: OrchestratorDriver, app: App) -> None:
        before = copy.deepcopy(app)
        existing = driver.existing(app)
        assert driver.plan(app, existing, ANYHOW) == driver.plan(app, existing, ANYHOW)
        assert app == before

    def test_a_new_app_is_created(self, driver: OrchestratorDriver, app: App) -> None:
        assert self._verbs(driver.plan(app, AppState(), ANYHOW)) == {"web": "create", "db": "create"}

    def test_what_is_depended_on_comes_first(self, driver: OrchestratorDriver, app: App) -> None:
        plan = driver.plan(app, AppState(), ANYHOW)
        order = [action.service for action in plan if action.kind == self.unit]
        assert order == ["db", "web"]

    def test_an_app_as_it_should_be_is_kept(self, driver: OrchestratorDriver, app: App) -> None:
        self._up(driver, app)
        try:
            verbs = {action.verb for action in driver.plan(app, driver.existing(app), ANYHOW)}
            assert verbs == {"keep"}
        finally:
            self._down(driver, app)

    def test_a_change_touches_what_changed(
        self, driver: OrchestratorDriver, app: App, changed_app: App
    ) -> None:
        self._up(driver, app)
        try:
            plan = driver.plan(changed_app, driver.existing(changed_app), CLEAN)
            assert self._verbs(plan) == {"web": "recreate", "db": "remove", "cache": "create"}
            changed = next(action.changed for action in plan if action.verb == "recreate")
            assert any("CHANGED" in path for path in changed)
            self._up(driver, changed_app, CLEAN)
            assert {item.service for item in driver.existing(changed_app).instances} == {"web", "cache"}
        finally:
            self._down(driver, app)

    def test_what_is_not_in_the_file_is_left_unless_asked_for(
        self, driver: OrchestratorDriver, app: App
    ) -> None:
        self._up(driver, app)
        try:
            smaller = replace(app, services=(app.services[1],))
            plan = driver.plan(smaller, driver.existing(smaller), ANYHOW)
            assert "remove" not in {action.verb for action in plan}
        finally:
            self._down(driver, app)

    def test_only_the_services_asked_for_are_planned(self, driver: OrchestratorDriver, app: App) -> None:
        plan = driver.plan(app, AppState(), PlanOptions(services=("db",)))
        assert set(self._verbs(plan)) == {"db"}

    def test_an_unknown_service_is_refused_by_name(self, driver: OrchestratorDriver, app: App) -> None:
        with pytest.raises(MultiosError, match="wbe"):
            driver.plan(app, AppState(), PlanOptions(services=("wbe",)))

    def test_every_action_gives_its_reason(self, driver: OrchestratorDriver, app: App) -> None:
        for action in driver.plan(app, AppState(), ANYHOW):
            assert action.verb in VERBS
            assert action.kind and action.subject and action.reason

    def test_every_action_is_told_before_and_after(self, driver: OrchestratorDriver, app: App) -> None:
        told: list[tuple[str, str]] = []
        plan = driver.plan(app, driver.existing(app), ANYHOW)
        try:
            driver.apply(app, plan, lambda action, what: told.append((action.subject, what)), ApplyOptions())
            for action in plan:
                assert (action.subject, "done") in told
        finally:
            self._down(driver, app)

    def test_an_apply_that_was_ended_is_gone_on_with(self, driver: OrchestratorDriver, app: App) -> None:
        class Ended(MultiosError):
            """Somebody has had enough."""

        def told(action: Action, what: str) -> None:
            if action.service == "db" and what == "done":
                raise Ended("enough")

        try:
            with pytest.raises(Ended):
                driver.apply(app, driver.plan(app, driver.existing(app), ANYHOW), told, ApplyOptions())
            self._up(driver, app)
            assert {item.service for item in driver.existing(app).instances} == {"web", "db"}
        finally:
            self._down(driver, app)

    def test_applying_twice_is_as_applying_once(self, driver: OrchestratorDriver, app: App) -> None:
        try:
            self._up(driver, app)
            first = driver.existing(app).instances
            self._up(driver, app)
            assert driver.existing(app).instances == first
        finally:
            self._down(driver, app)

    def test_nothing_is_left_of_a_destroyed_app(self, driver: OrchestratorDriver, app: App) -> None:
        self._up(driver, app)
        self._down(driver, app)
        existing = driver.existing(app)
        assert not existing.instances and not existing.networks and not existing.volumes

    def test_destroying_what_is_not_there_is_no_error(self, driver: OrchestratorDriver, app: App) -> None:
        self._down(driver, app)
        self._down(driver, app)

    # --- what only some can ---------------------------------------------------------------------------

    @pytest.fixture
    def echoing_port(self) -> int:
        """A port on which the container of ``web`` gives back what it gets."""
        pytest.skip("this driver has no port that echoes: its tests name none")

    @pytest.mark.parametrize("capability", sorted(_INSIDE))
    def test_what_is_not_declared_says_that_it_is_not_supported(
        self, driver: OrchestratorDriver, capability: Capability
    ) -> None:
        if capability in self.driver_type.capabilities:
            pytest.skip(f"this driver declares {capability}")
        for call in _INSIDE[capability]:
            with pytest.raises(Unsupported):
                call(driver)

    def test_a_command_inside_has_its_streams_and_its_exit_status(
        self, driver: OrchestratorDriver, app: App
    ) -> None:
        self.require(Capability.EXEC)
        self._up(driver, app)
        try:
            with TemporaryFile() as stdin, TemporaryFile() as stdout, TemporaryFile() as stderr:
                stdin.write(b"given\n")
                stdin.seek(0)
                streams = (stdin.fileno(), stdout.fileno(), stderr.fileno())
                command = ["sh", "-c", "cat; echo wrong >&2; exit 7"]
                assert driver.execute(app.name, Place("web"), command, streams) == 7
                for stream, said in ((stdout, b"given\n"), (stderr, b"wrong\n")):
                    stream.seek(0)
                    assert stream.read() == said
        finally:
            self._down(driver, app)

    def test_what_containers_write_is_shown_with_whose_it_is(
        self, driver: OrchestratorDriver, app: App
    ) -> None:
        self.require(Capability.LOGS)
        talking = {"command": ["sh", "-c", "echo one; echo two; exec sleep 1000"]}
        services = [replace(item, container={**item.container, **talking}) for item in app.services]
        app = replace(app, services=tuple(services))
        self._up(driver, app)
        try:
            lines = driver.logs(app.name, ("web",), True, None)
            assert list(islice(lines, 2)) == [(Place("web", 1), b"one\n"), (Place("web", 1), b"two\n")]
            assert list(driver.logs(app.name, ("web",), False, 1)) == [(Place("web", 1), b"two\n")]
        finally:
            self._down(driver, app)

    def test_files_are_copied_in_and_out(self, driver: OrchestratorDriver, app: App) -> None:
        self.require(Capability.COPY)
        self._up(driver, app)
        try:
            with TemporaryFile() as given, TemporaryFile() as back:
                with tarfile.open(fileobj=given, mode="w") as archive:
                    entry = tarfile.TarInfo("page")
                    entry.size = 5
                    archive.addfile(entry, BytesIO(b"hello"))
                given.seek(0)
                driver.copy_in(app.name, Place("web"), "/tmp", given.fileno())
                driver.copy_out(app.name, Place("web"), "/tmp/page", back.fileno())
                back.seek(0)
                with tarfile.open(fileobj=back) as archive:
                    (member,) = archive.getmembers()
                    file = archive.extractfile(member)
                    assert file is not None and file.read() == b"hello"
        finally:
            self._down(driver, app)

    def test_a_port_leads_inside_while_it_is_forwarded(
        self, driver: OrchestratorDriver, app: App, echoing_port: int
    ) -> None:
        self.require(Capability.FORWARD)
        self._up(driver, app)
        try:
            with driver.forward(app.name, Place("web"), echoing_port, 0) as port:
                with socket.create_connection(("127.0.0.1", port), 10) as client:
                    client.sendall(b"hello")
                    assert client.recv(5, socket.MSG_WAITALL) == b"hello"
            with pytest.raises(OSError):
                socket.create_connection(("127.0.0.1", port), 10).close()
        finally:
            self._down(driver, app)

    def test_an_app_is_put_back_and_runs_on(self, driver: OrchestratorDriver, app: App) -> None:
        self.require(Capability.RESET)
        self._up(driver, app)
        try:
            before = {(item.service, item.status) for item in driver.existing(app).instances}
            self._reset_to("", driver, app, before)
            if Capability.SNAPSHOT not in self.driver_type.capabilities:
                with pytest.raises(Unsupported):
                    driver.reset(app.name, "kept", lambda *_: None)
                return
            driver.snapshot(app.name, "kept", lambda *_: None)
            self._reset_to("kept", driver, app, before)
            with pytest.raises(MultiosError, match="no-such-state"):
                driver.reset(app.name, "no-such-state", lambda *_: None)
        finally:
            self._down(driver, app)

    @staticmethod
    def _reset_to(state: str, driver: OrchestratorDriver, app: App, before: set[tuple[str, str]]) -> None:
        told: set[tuple[str, str]] = set()
        driver.reset(app.name, state, lambda action, what: told.add((action.service, what)))
        assert {(item.service, item.status) for item in driver.existing(app).instances} == before
        assert told == {(service, "done") for service, _ in before}

    def test_what_an_app_wrote_is_gone_when_it_is_put_back(
        self, driver: OrchestratorDriver, app: App
    ) -> None:
        self.require(Capability.RESET)
        self.require(Capability.EXEC)
        self._up(driver, app)
        try:
            streams = (0, 1, 2)
            assert driver.execute(app.name, _WEB, ["sh", "-c", "echo mine > /tmp/mine"], streams) == 0
            driver.reset(app.name, "", lambda *_: None)
            assert driver.execute(app.name, _WEB, ["test", "!", "-e", "/tmp/mine"], streams) == 0
        finally:
            self._down(driver, app)

    def test_a_students_work_is_copied_out_and_his_machine_begins_anew(
        self, driver: OrchestratorDriver, course: Course
    ) -> None:
        self.require(Capability.COURSES)
        self._start(driver, course)
        try:
            machine = next(row for row in driver.course_state(course.name) if row.student == "ada")
            bounds = CopyBounds(1 << 20, 30)
            with TemporaryFile() as archive:
                driver.copy_out_of_course(course.name, machine, "/etc/passwd", archive.fileno(), bounds)
                archive.seek(0)
                with tarfile.open(fileobj=archive) as read:
                    assert [member.name.rpartition("/")[2] for member in read] == ["passwd"]
            with TemporaryFile() as archive, pytest.raises(NotFound):
                driver.copy_out_of_course(course.name, machine, "/no-such", archive.fileno(), bounds)
            self._copy_in(driver, course, machine)
            told: dict[str, str] = {}
            driver.reset_course(
                course.name, [machine], lambda action, what: told.update({action.service: what})
            )
            assert told == {"ada": "done"}
            assert {row.state for row in driver.course_state(course.name)} == {RUNNING}
        finally:
            driver.destroy_course(course.name, lambda action, what: None)

    @staticmethod
    def _copy_in(driver: OrchestratorDriver, course: Course, machine: CourseMachine) -> None:
        """What is copied in is there, with the directories above it."""
        with TemporaryFile() as archive:
            with tarfile.open(fileobj=archive, mode="w") as written:
                entry = tarfile.TarInfo("suite/given")
                entry.size = 5
                written.addfile(entry, BytesIO(b"given"))
            archive.seek(0)
            driver.copy_into_course(course.name, machine, "/tmp", archive.fileno(), 30)
            archive.seek(0)
            with pytest.raises(NotFound):
                driver.copy_into_course(course.name, machine, "/no-such", archive.fileno(), 30)
        with TemporaryFile() as archive:
            bounds = CopyBounds(1 << 20, 30)
            driver.copy_out_of_course(course.name, machine, "/tmp/suite/given", archive.fileno(), bounds)
            archive.seek(0)
            with tarfile.open(fileobj=archive) as read:
                found = read.extractfile(read.getmembers()[0])
                assert found is not None and found.read() == b"given"

    def test_a_course_is_started_stopped_started_again_and_leaves_nothing(
        self, driver: OrchestratorDriver, course: Course
    ) -> None:
        self.require(Capability.COURSES)

        def states() -> dict[str, str]:
            return {row.student: row.state for row in driver.course_state(course.name)}

        assert {action.verb for action in driver.plan_course(course)} == {"create"}
        try:
            self._start(driver, course)
            assert states() == {"ada": RUNNING, "ben": RUNNING}
            assert {action.verb for action in driver.plan_course(course)} == {"keep"}
            assert self._start(driver, course) == {"": "done", "ada": "done", "ben": "done"}
            driver.stop_course(course.name, lambda action, what: None)
            assert states() == {"ada": STOPPED, "ben": STOPPED}
            self._start(driver, course)
            assert states() == {"ada": RUNNING, "ben": RUNNING}
        finally:
            driver.destroy_course(course.name, lambda action, what: None)
        assert not states()
        assert {action.verb for action in driver.plan_course(course)} == {"create"}
        driver.destroy_course(course.name, lambda action, what: None)

    @staticmethod
    def _start(driver: OrchestratorDriver, course: Course) -> dict[str, str]:
        """What was told last, by student; of what is nobody's by an empty name."""
        told: dict[str, str] = {}
        driver.apply_course(course, lambda action, what: told.update({action.service: what}), ApplyOptions())
        return told

    @staticmethod
    def _up(driver: OrchestratorDriver, app: App, options: PlanOptions = ANYHOW) -> None:
        plan = driver.plan(app, driver.existing(app), options)
        driver.apply(app, plan, lambda action, what: None, ApplyOptions(stop_timeout=0))

    @staticmethod
    def _down(driver: OrchestratorDriver, app: App) -> None:
        driver.destroy(app.name, lambda action, what: None, DestroyOptions(volumes=True, stop_timeout=0))

    def _verbs(self, plan: tuple[Action, ...]) -> Mapping[str, str]:
        return {action.service: action.verb for action in plan if action.kind == self.unit}
