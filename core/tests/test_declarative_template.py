"""Templates that are a TOML file: read, checked, rendered."""

from __future__ import annotations

import pytest

from multios.drivers.declarative_template import read, render
from multios.engine.confinement import with_template
from multios.errors import InvalidInput
from multios.model.container import Resources, Security
from multios.model.network import PortMapping

HEAD = 'name = "lab"\nversion = "1.0"\ndescription = "A lab"\n'
LAB = (
    HEAD
    + """
base = "debian:{{release}}"
steps = ["echo {{greeting}} > /greeting"]
[[variants]]
when = { release = ["11", "10"] }
steps = ["echo old {{greeting}}"]
[resources]
cpu_limit = "50%"
memory_limit = "1GB"
[[ports]]
container = 8888
[environment]
GREETING = "{{greeting}}"
[files]
"/etc/motd" = "{{greeting}}, {{ not a placeholder }}"
[[parameters]]
name = "release"
description = "Debian's release"
default = "12"
choices = ["12", "11"]
[[parameters]]
name = "greeting"
description = "What it says"
default = "hello"
[[checks]]
name = "greets"
command = ["cat", "/greeting"]
expect = "hello"
"""
)


def test_a_template_is_rendered_with_its_defaults() -> None:
    plan = render(read(LAB, "lab"), {})
    assert plan.base == "debian:12"
    assert plan.steps == ("echo hello > /greeting",)
    assert plan.resources == Resources(cpu_limit=0.5, memory_limit=2**30)
    assert plan.ports == (PortMapping(8888),)
    assert plan.files == {"/etc/motd": "hello, {{ not a placeholder }}"}


def test_the_first_variant_that_fits_brings_its_steps() -> None:
    plan = render(read(LAB, "lab"), {"release": "11"})
    assert (plan.base, plan.steps) == ("debian:11", ("echo old hello",))


def test_a_value_is_one_word_for_the_shell_and_itself_elsewhere() -> None:
    plan = render(read(LAB, "lab"), {"greeting": "it's $(id); {{release}}"})
    assert plan.steps == ("echo 'it'\"'\"'s $(id); {{release}}' > /greeting",)
    assert plan.environment == {"GREETING": "it's $(id); {{release}}"}


@pytest.mark.parametrize(
    ("values", "cause", "remedy"),
    [
        ({"greting": "x"}, "has no option 'greting'", "did you mean 'greeting'?"),
        ({"release": "13"}, "option 'release': '13' is not a choice", "choices: 12, 11"),
        ({"greeting": "a\nb"}, "option 'greeting'", "in one line"),
        ({"greeting": "x" * 201}, "option 'greeting'", "200 characters"),
    ],
)
def test_a_wrong_option_is_named(values: dict[str, str], cause: str, remedy: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        render(read(LAB, "lab"), values)
    assert cause in caught.value.cause
    assert remedy in caught.value.remedy


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("name = ", "not TOML"),
        (HEAD, "base"),
        (HEAD + 'base = "x"\nstep = []', "step: no such setting"),
        (HEAD + 'base = "x"\nsteps = "apt-get"', "steps"),
        (HEAD + 'base = "{{relase}}"', "relase: no such parameter"),
        (HEAD + 'base = "x"\n[resources]\nmemory_limit = "much"', "resources.memory_limit"),
        (HEAD + 'base = "x"\n[resources]\nmemory = 1', "resources.memory: no such setting"),
        (HEAD + 'base = "x"\n[[parameters]]\nname = "a"', "parameters"),
        (
            HEAD + 'base = "x"\n[[parameters]]\nname="a"\ndescription="b"\ndefault="c"\nchoices=["d"]',
            "parameter a",
        ),
        (HEAD + 'base = "x"\n[[variants]]\nsteps=[]\nwhen={b=["1"]}', "b: no such parameter"),
        (HEAD + 'base = "x"\nports = 1', "ports: must be an array"),
        (HEAD + 'base = "x"\n[files]\n"/a" = 1', "files: must be a table of text"),
    ],
)
def test_a_wrong_template_is_refused_by_file_and_field(text: str, cause: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read(text, "lab/template.toml")
    assert caught.value.cause.startswith("lab/template.toml: ")
    assert cause in caught.value.cause


def test_a_base_that_no_image_can_have_is_refused() -> None:
    document = read(HEAD + 'base = "{{b}}"\n[[parameters]]\nname="b"\ndescription="base"\ndefault="x"', "lab")
    with pytest.raises(InvalidInput, match="'..' is not a part"):
        render(document, {"b": "../../x"})


def test_a_template_may_bring_a_profile_for_its_system_calls() -> None:
    text = HEAD + 'base = "debian:12"\n[security]\nseccomp_profile = "strict"\n'
    assert render(read(text, "lab"), {}).seccomp_profile == "strict"
    with pytest.raises(InvalidInput) as caught:
        read(text.replace("seccomp_profile", "secomp_profile"), "lab")
    assert "security.secomp_profile" in caught.value.cause and "seccomp_profile" in caught.value.remedy


def test_a_templates_profile_yields_to_the_one_that_was_asked_for() -> None:
    assert with_template(Security(), "strict").seccomp_profile == "strict"
    assert with_template(Security(seccomp_profile="unconfined"), "strict").seccomp_profile == "unconfined"
    assert with_template(Security(privileged=True), "strict").seccomp_profile == "default"
