"""The template python-learning: the kit's suite, and what its plan promises."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from multios.drivers.base import DriverContext
from multios.model.container import Resources
from multios.model.template import TemplatePort
from multios.testing.template import TemplateDriverSuite
from multios_template_python_learning import PythonLearning


class TestPythonLearning(TemplateDriverSuite):
    driver_type = PythonLearning


@pytest.fixture
def template(tmp_path: Path) -> PythonLearning:
    return PythonLearning(None, DriverContext(tmp_path, tmp_path))


def test_a_container_gets_one_core_and_a_gigabyte(template: PythonLearning) -> None:
    plan = template.render({})
    assert plan.resources == Resources(cpu_limit=1.0, memory_limit=2**30)
    assert plan.ports == (TemplatePort(8888, description="Jupyter notebook"),)
    assert plan.base == "debian:12"
    assert plan.capabilities == ()


def test_every_base_installs_python_with_pip_and_a_notebook(template: PythonLearning) -> None:
    for base in template.parameters()[0].choices:
        plan = template.render({"base": base})
        installed = "\n".join([*plan.packages, *plan.steps])
        for package in (
            "pip",
            "venv",
            "virtualenv",
            "notebook",
            "numpy",
            "pandas",
            "matplotlib",
            "flask",
            "pytest",
        ):
            assert package in installed, (base, package)


def test_the_lessons_programs_are_python(template: PythonLearning) -> None:
    programs = re.findall(r"```python\n(.*?)```", template.lesson(), re.DOTALL)
    assert len(programs) >= 4
    for program in programs:
        compile(program, "lesson", "exec")


def test_the_lessons_first_program_does_what_it_says(
    template: PythonLearning, capsys: pytest.CaptureFixture[str]
) -> None:
    program = next(
        text
        for text in re.findall(r"```python\n(.*?)```", template.lesson(), re.DOTALL)
        if "def mean" in text
    )
    exec(program, {})
    assert "mean:    20.7" in capsys.readouterr().out
