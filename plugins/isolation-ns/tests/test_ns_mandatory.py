"""AppArmor and Landlock in the launcher, against this kernel where it has them."""

from __future__ import annotations

import errno
import json
import os
import secrets
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multios.errors import InvalidInput, MultiosError, Unsupported
from multios.supervisor import flags
from multios.supervisor.syscalls import kernel
from multios_isolation_ns import landlock, mandatory, plan

needs_scope = pytest.mark.skipif(kernel.landlock_version() < 6, reason="this kernel lacks Landlock ABI 6")


def errno_inside(rules: dict[str, Any], act: Callable[[], object]) -> int:
    """What a child under ``rules`` gets for ``act``: an errno, 0 for success."""
    child = os.fork()
    if child == 0:
        status = 255
        try:
            process: dict[str, Any] = {
                "landlock": {"fs": 0, "net": 0, "scope": 0, "paths": [], "ports": []} | rules
            }
            mandatory.make_ruleset(process)
            kernel.prctl(flags.PR_SET_NO_NEW_PRIVS, 1)
            mandatory.enforce_ruleset(process)
            try:
                act()
                status = 0
            except OSError as error:
                status = error.errno or 254
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@needs_scope
def test_an_abstract_socket_outside_cannot_be_reached_under_that_scope() -> None:
    address = f"\0multios-{secrets.token_hex(8)}"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen()

        def reach() -> None:
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(address)

        assert errno_inside({"scope": 2}, reach) == 0
        assert errno_inside({"scope": 1}, reach) == errno.EPERM


@needs_scope
def test_a_process_outside_cannot_be_signalled_under_that_scope() -> None:
    parent = os.getpid()
    assert errno_inside({"scope": 2}, lambda: os.kill(parent, 0)) == errno.EPERM
    assert errno_inside({"scope": 1}, lambda: os.kill(parent, 0)) == 0


@needs_scope
def test_a_file_may_be_named_as_well_as_a_directory_and_what_is_not_there_needs_no_rule(
    tmp_path: Path,
) -> None:
    (tmp_path / "named").write_text("x")
    (tmp_path / "other").write_text("x")
    rules = {"fs": (1 << 15) - 1, "paths": [[str(tmp_path / "named"), (1 << 15) - 1], ["/no/such", 4]]}
    assert errno_inside(rules, lambda: (tmp_path / "named").write_text("y")) == 0
    assert errno_inside(rules, lambda: (tmp_path / "other").read_text()) == errno.EACCES


def test_an_older_kernel_is_told_no_more_than_it_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths: list[int] = []
    monkeypatch.setattr(
        type(kernel), "_call", lambda self, name, record, size, *rest, **more: lengths.append(size) or 3
    )
    kernel.landlock_create_ruleset(1)
    kernel.landlock_create_ruleset(1, 1)
    kernel.landlock_create_ruleset(1, 0, 1)
    assert lengths == [8, 16, 24]


def test_what_the_kernel_cannot_do_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(kernel), "landlock_version", lambda self: 3)
    assert landlock.ruleset(json.dumps({"fs": 1})) is not None
    for document in ({"net": 1}, {"scope": 1}):
        with pytest.raises(Unsupported):
            landlock.ruleset(json.dumps(document))


@given(
    st.one_of(
        st.text(max_size=40),
        st.dictionaries(
            st.sampled_from(["fs", "net", "scope", "paths", "ports"]), st.integers() | st.text()
        ).map(json.dumps),
    )
)
def test_any_annotation_is_read_or_refused_in_words(text: str) -> None:
    try:
        landlock.ruleset(text)
    except MultiosError as error:
        assert error.cause and error.remedy


def test_a_profile_is_not_written_to_a_file_that_only_looks_like_procfs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "exec"
    fake.touch()
    monkeypatch.setattr(mandatory, "_ATTRIBUTES", (str(fake), str(fake)))
    with pytest.raises(OSError) as caught:
        mandatory.choose_profile({"apparmor": "multios-default"})
    assert caught.value.errno == errno.EPERM and fake.read_bytes() == b""


def test_no_profile_is_nothing_to_do() -> None:
    mandatory.choose_profile({"apparmor": ""})


@pytest.mark.parametrize(
    ("name", "planned"), [("unconfined", ""), ("course//&other", "course//&other"), (None, "")]
)
def test_the_spec_names_a_profile(name: str | None, planned: str) -> None:
    made = plan.process({"args": ["x"], "apparmorProfile": name}, b"", 0)
    assert made["process"]["apparmor"] == planned


def test_a_profile_name_with_a_newline_is_refused() -> None:
    with pytest.raises(InvalidInput):
        plan.process({"args": ["x"], "apparmorProfile": "a\nexec b"}, b"", 0)
