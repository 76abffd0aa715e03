"""``explain`` in the engine of a user who is not root: the ids are those of his own user namespace."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from private_engine import IMAGE
from user_engine import UserEngine

pytestmark = pytest.mark.skipif(
    not all(shutil.which(name) for name in ("pasta", "newuidmap", "setpriv", "unshare")),
    reason="this host has no passt, uidmap or util-linux",
)


@pytest.fixture(scope="module", params=[65536, 0], ids=["subordinate ids", "a single id"])
def user(request: pytest.FixtureRequest) -> Iterator[UserEngine]:
    engine = UserEngine(request.param)
    try:
        engine.import_image()
        engine.run("run", "-d", "--name", "mine", IMAGE, "sleep", "1000")
        yield engine
    finally:
        engine.end()


def parts(user: UserEngine) -> dict[str, dict[str, Any]]:
    document = json.loads(user.out("explain", "--format", "json", "mine"))
    assert document["rootless"]
    return {part["part"]: part for part in document["parts"]}


def test_a_users_own_container_is_explained(user: UserEngine) -> None:
    found = parts(user)
    pid = json.loads(user.out("inspect", "mine"))[0]["State"]["Pid"]
    for row in found["namespaces"]["rows"]:
        assert row["inode"] == os.stat(f"/proc/{pid}/ns/{row['kind']}").st_ino
    assert found["ids"]["uid"] == 0
    assert "CAP_SYS_ADMIN" in [row["name"] for row in found["capabilities"]["dropped"]]
    assert found["process"]["pid_inside"] == 1
    assert "read from the kernel" in user.out("explain", "mine")
    assert user.out("explain", "--html", "mine").count("<svg") >= 2


def test_the_script_is_for_root(user: UserEngine) -> None:
    refused = user.run("explain", "--as-shell", "mine", status=125)
    assert "for root" in refused.stderr
