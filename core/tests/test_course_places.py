"""Where a path of a host's machine is on a cluster."""

from __future__ import annotations

import pytest

from multios.model.course import place_on_a_cluster


@pytest.mark.parametrize(
    ("path", "inside"),
    [
        ("/root/work", "/home/student/work"),
        ("/root/a/b", "/home/student/a/b"),
        ("/home/student/work", "/home/student/work"),
        ("/srv/root/work", "/srv/root/work"),
        ("/rooted/work", "/rooted/work"),
    ],
)
def test_what_is_roots_own_on_a_host_is_in_the_students_home(path: str, inside: str) -> None:
    assert place_on_a_cluster(path) == inside
