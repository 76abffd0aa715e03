"""The template cpp-learning: the kit's suite, and what its plan promises."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

import multios_template_cpp_learning
from multios.drivers.base import DriverContext
from multios.model.container import Resources
from multios.testing.template import TemplateDriverSuite
from multios_template_cpp_learning import CppLearning

PROGRAMS = Path(multios_template_cpp_learning.__file__).parent / "rootfs/usr/local/share/cpp-learning"


class TestCppLearning(TemplateDriverSuite):
    driver_type = CppLearning


@pytest.fixture
def template(tmp_path: Path) -> CppLearning:
    return CppLearning(None, DriverContext(tmp_path, tmp_path))


def test_a_container_gets_one_core_a_gigabyte_and_no_further_right(template: CppLearning) -> None:
    plan = template.render({})
    assert plan.resources == Resources(cpu_limit=1.0, memory_limit=2**30)
    assert plan.base == "debian:12"
    assert plan.capabilities == ()
    assert plan.seccomp_profile == ""


def test_every_base_installs_compiler_debugger_and_memory_checker(template: CppLearning) -> None:
    for base in template.parameters()[0].choices:
        packages = template.render({"base": base}).packages
        assert {"build-essential", "gdb", "valgrind", "libc6-dbg"} <= set(packages), base


def test_the_lesson_uses_every_program(template: CppLearning) -> None:
    for program in PROGRAMS.iterdir():
        assert program.name in template.lesson(), program.name


@pytest.mark.skipif(shutil.which("cc") is None, reason="this host has no C compiler")
def test_the_programs_compile_without_a_warning_but_for_what_they_show(tmp_path: Path) -> None:
    for program in ("crash.c", "leak.c", "mean/main.c", "mean/mean.c"):
        done = subprocess.run(
            ["cc", "-Wall", "-Wextra", "-Werror", "-c", PROGRAMS / program, "-o", tmp_path / "out.o"],
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
