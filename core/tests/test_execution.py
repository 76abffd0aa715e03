"""What exec hands to the driver, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
from engine_box import Box

from multios.engine.execution import ExecRequest, execute
from multios.errors import Conflict, InvalidInput, Unsupported
from multios.model.container import Container
from multios.testing.fakes import FakeSecurity


def executed(box: Box, container: Container, request: ExecRequest, patch: pytest.MonkeyPatch) -> Any:
    made: list[Any] = []
    genuine = box.isolation.exec

    def remember(container_id: str, exec_id: str, process: Any, stdio: Any) -> Any:
        made.append(process.process)
        return genuine(container_id, exec_id, process, stdio)

    with patch.context() as context:
        context.setattr(box.isolation, "exec", remember)
        execute(box.containers, box.engine.drivers, box.now(container), request, ())
    return made[0]


def test_the_containers_own_process_is_the_base(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    container = box.started(environment={"A": "1", "B": "2"}, working_directory="/srv")
    request = ExecRequest(("ls",), environment={"B": "3"})
    process = executed(box, container, request, monkeypatch)
    assert process["args"] == ["ls"] and process["cwd"] == "/srv"
    assert {"A=1", "B=3"} <= set(process["env"])
    assert process["noNewPrivileges"] is True


def test_only_a_privileged_exec_has_every_capability(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    container = box.started()
    plain = executed(box, container, ExecRequest(("ls",)), monkeypatch)
    assert plain["capabilities"]["bounding"] == []
    with pytest.raises(Unsupported, match="'capabilities'"):
        executed(box, container, ExecRequest(("ls",), privileged=True), monkeypatch)
    monkeypatch.setattr(FakeSecurity, "name", "capabilities")
    monkeypatch.setattr(
        FakeSecurity, "process", lambda self, process, profile: {**process, "capabilities": profile}
    )
    full = executed(box, container, ExecRequest(("ls",), privileged=True), monkeypatch)
    assert full["capabilities"] == "unconfined"


@pytest.mark.parametrize(
    "request_",
    [
        ExecRequest(()),
        ExecRequest(("ls",), environment={"A=B": "1"}),
        ExecRequest(("ls",), environment={"": "1"}),
        ExecRequest(("ls",), working_directory="srv"),
    ],
)
def test_what_no_process_can_have_is_refused(box: Box, request_: ExecRequest) -> None:
    with pytest.raises(InvalidInput):
        execute(box.containers, box.engine.drivers, box.started(), request_, ())


def test_a_container_that_does_not_run_says_how_to_let_it_run(box: Box) -> None:
    container = box.create()
    with pytest.raises(Conflict) as caught:
        execute(box.containers, box.engine.drivers, container, ExecRequest(("ls",)), ())
    assert "start" in caught.value.remedy
    container = box.started()
    box.containers.pause(container)
    with pytest.raises(Conflict) as caught:
        execute(box.containers, box.engine.drivers, box.now(container), ExecRequest(("ls",)), ())
    assert "resume" in caught.value.remedy
