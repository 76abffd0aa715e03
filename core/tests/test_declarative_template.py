"""Templates that are a TOML file: read, checked, rendered; every refusal names file, line and key."""

from __future__ import annotations

import pytest

from multios.engine.confinement import with_template
from multios.errors import InvalidInput
from multios.model.container import Resources, Security
from multios.model.template import SERVICES_PROGRAM, Check, TemplatePort
from multios.template_format.document import read
from multios.template_format.rendering import render

HEAD = 'schema = 1\nname = "lab"\nversion = "1.0"\ndescription = "A lab"\nlicense = "MIT"\n'
BASED = HEAD + 'base = "debian:12"\n'
LAB = (
    HEAD
    + """
base = "debian:{{release}}"
steps = ["echo {{greeting}} > /greeting"]
[packages]
debian = ["hello", "openjdk-{{java}}-jdk"]
"debian:11" = ["hello-traditional"]
[[variants]]
when = { release = ["11", "10"] }
steps = ["echo old {{greeting}}"]
[resources]
cpu_limit = "50%"
memory_limit = "1GB"
[requests]
capabilities = ["NET_RAW"]
devices = ["/dev/net/tun"]
network = "none"
[[ports]]
container = 8888
description = "a notebook"
[environment]
GREETING = "{{greeting}}"
[files]
"/etc/motd" = "{{greeting}}, {{ not a placeholder }}"
[[parameters]]
name = "release"
description = "Debian's release"
default = "12"
choices = ["12", "11", "10"]
[[parameters]]
name = "greeting"
description = "What it says"
default = "hello"
[[parameters]]
name = "java"
description = "Which Java"
type = "integer"
default = 17
minimum = 8
maximum = 25
[[parameters]]
name = "loud"
description = "Whether it shouts"
type = "boolean"
default = false
[[checks]]
name = "greets"
command = ["grep", "{{greeting}}", "/greeting"]
expect = "hello"
hint = "look at /greeting"
timeout = 5
"""
)


def test_a_template_is_rendered_with_its_defaults() -> None:
    plan = render(read(LAB, "lab"), {})
    assert plan.base == "debian:12"
    assert plan.steps == ("echo hello > /greeting",)
    assert plan.packages == ("hello", "openjdk-17-jdk")
    assert plan.resources == Resources(cpu_limit=0.5, memory_limit=2**30)
    assert plan.ports == (TemplatePort(8888, description="a notebook"),)
    assert plan.files == {"/etc/motd": "hello, {{ not a placeholder }}"}
    assert (plan.capabilities, plan.devices, plan.network) == (("NET_RAW",), ("/dev/net/tun",), "none")
    assert plan.checks == (
        Check("greets", ("grep", "hello", "/greeting"), "hello", "look at /greeting", timeout=5),
    )
    assert plan.command == ("/bin/bash",)
    assert plan.license == "MIT"


def test_the_first_variant_that_fits_brings_its_steps_and_the_exact_base_its_packages() -> None:
    plan = render(read(LAB, "lab"), {"release": "11"})
    assert (plan.base, plan.steps) == ("debian:11", ("echo old hello",))
    assert plan.packages == ("hello-traditional",)


def test_a_base_without_a_list_of_packages_is_refused_with_those_there_are() -> None:
    with pytest.raises(InvalidInput, match="no list for the base 'fedora:40'") as caught:
        render(read(BASED.replace("debian:12", "fedora:40") + '[packages]\ndebian = ["a1"]', "lab"), {})
    assert "debian" in caught.value.remedy


def test_a_value_is_one_word_for_the_shell_and_itself_elsewhere() -> None:
    plan = render(read(LAB, "lab"), {"greeting": "it's $(id); {{release}}"})
    assert plan.steps == ("echo 'it'\"'\"'s $(id); {{release}}' > /greeting",)
    assert plan.environment == {"GREETING": "it's $(id); {{release}}"}


def test_values_are_what_their_type_writes() -> None:
    text = LAB.replace('GREETING = "{{greeting}}"', 'JAVA = "{{java}}"\nLOUD = "{{loud}}"')
    assert render(read(text, "lab"), {"java": "021", "loud": "Yes"}).environment == {
        "JAVA": "21",
        "LOUD": "true",
    }


@pytest.mark.parametrize(
    ("values", "cause", "remedy"),
    [
        ({"greting": "x"}, "has no option 'greting'", "did you mean 'greeting'?"),
        ({"release": "13"}, "option 'release': '13' is not a choice", "choices: 12, 11"),
        ({"greeting": "a\nb"}, "option 'greeting'", "in one line"),
        ({"greeting": "x" * 201}, "option 'greeting'", "200 characters"),
        ({"java": "7"}, "option 'java': 7 is out of bounds", "at least 8, at most 25"),
        ({"java": "17.0"}, "option 'java': '17.0' is not a whole number", "digits"),
        ({"java": "9" * 5000}, "option 'java'", "digits"),
        ({"java": "١٧"}, "option 'java'", "digits"),
        ({"loud": "maybe"}, "option 'loud': 'maybe' is neither true nor false", "true or false"),
    ],
)
def test_a_wrong_option_is_named(values: dict[str, str], cause: str, remedy: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        render(read(LAB, "lab"), values)
    assert cause in caught.value.cause
    assert remedy in caught.value.remedy


PARAMETER = '[[parameters]]\nname = "a"\ndescription = "b"\n'


@pytest.mark.parametrize(
    ("text", "cause", "remedy"),
    [
        ("name = ", "1: not TOML", "toml.io"),
        (HEAD, "1: base: is missing", "debian:12"),
        (BASED.replace("schema = 1\n", ""), "1: schema: is missing", "schema = 1"),
        (BASED.replace("schema = 1", "schema = 2"), "1: schema: 2 is not known", "schema = 1"),
        (BASED.replace('license = "MIT"\n', ""), "1: license: is missing", "SPDX"),
        (BASED.replace('"MIT"', '"as is!"'), "5: license: 'as is!' is not as SPDX", "MIT"),
        (BASED.replace('"lab"', '"../lab"'), "2: name: '../lab' cannot be", "my-template"),
        (BASED + "step = []", "7: step: no such setting", "did you mean 'steps'?"),
        (BASED + 'steps = "apt-get"', "7: steps: 'apt-get' is not valid", "list of text"),
        (BASED + 'steps = [\n"a",\n1]', "9: steps[1]: 1 is not valid", "text"),
        (BASED + 'capabilities = ["NET_RAW"]', "7: capabilities: no such setting", "[requests]"),
        (BASED + '[security]\nseccomp_profile = "x"', "7: security: no such setting", "[requests]"),
        (HEAD + 'base = "{{relase}}"', "6: base: {{relase}}: no such parameter", "parameters"),
        (HEAD + 'base = "Debian:12"', "6: base: image 'Debian:12'", "debian:12"),
        (
            BASED + '[resources]\n\nmemory_limit = "much"',
            "9: resources.memory_limit: 'much' is not a size",
            "",
        ),
        (BASED + "[resources]\nmemory = 1", "8: resources.memory: no such setting", "memory_"),
        (BASED + PARAMETER, "7: parameters[0].default: is missing", ""),
        (
            BASED + PARAMETER + 'default="c"\nchoices=["d"]',
            "10: parameters[0].default: 'c' is not a choice",
            "d",
        ),
        (
            BASED + PARAMETER + 'type = "integer"\nmaximum = 3\ndefault = 4',
            "12: parameters[0].default: 4 is out of bounds",
            "at most 3",
        ),
        (
            BASED + PARAMETER + 'type = "interger"\ndefault = 4',
            "10: parameters[0].type: 'interger' is not known",
            "did you mean 'integer'?",
        ),
        (
            BASED + PARAMETER + 'default = "x"\nminimum = 4',
            "11: parameters[0].minimum: belongs to",
            "leave it out",
        ),
        (BASED + '[[variants]]\nsteps=[]\nwhen={b=["1"]}', "9: variants[0].when.b: b: no such parameter", ""),
        (
            BASED + '[[services]]\nname="a"\ncommand="x"\n'
            '[[variants]]\nsteps=[]\nwhen={}\n[[variants.services]]\nname="a"\ncommand="y"',
            "14: variants[0].services[0].name: 'a' is there twice",
            "rename",
        ),
        (BASED + "ports = 1", "7: ports: must be an array", "[[ports]]"),
        (BASED + "[[ports]]\ncontainer = 70000", "8: ports[0].container: 70000 is no port", "65535"),
        (BASED + '[files]\n"/a" = 1', '8: files."/a": must be text', "quotes"),
        (BASED + '[files]\n"/a/../b" = "x"', '8: files."/a/../b": is not an absolute', ""),
        (BASED + '[packages]\ndebian = ["-oX=y"]', "8: packages.debian[0]: '-oX=y' is not", "apt"),
        (BASED + '[packages]\ndebian = ["vim-"]', "8: packages.debian[0]: 'vim-' is not", "apt"),
        (
            BASED + '[packages]\n"ubuntu:20.04" = [1.5]',
            '8: packages."ubuntu:20.04"[0]: must be text',
            "quotes",
        ),
        (
            BASED + '[requests]\ncapabilities = ["NET_ADMIN",\n "CAP_NET_RAW"]',
            "9: requests.capabilities[1]: 'CAP_NET_RAW'",
            "'NET_RAW'",
        ),
        (
            BASED + '[requests]\ncapabilities = ["NET_RAWW"]',
            "8: requests.capabilities[0]: no such capability",
            "did you mean 'NET_RAW'?",
        ),
        (BASED + '[requests]\ndevices = ["/etc/shadow"]', "8: requests.devices[0]", "/dev/net/tun"),
        (BASED + '[requests]\nnetwork = "host"', "8: requests.network: 'host' is not known", "none"),
        (BASED + '[[services]]\nname = "a b"\ncommand = "x"', "8: services[0].name", "small letters"),
        (BASED + '[[services]]\nname = "a"\ncommand = " "', "9: services[0].command: is empty", "foreground"),
        (BASED + '[[checks]]\nname = "a"\ncommand = []', "9: checks[0].command: is empty", "program"),
        (
            BASED + '[[checks]]\nname = "a"\ncommand = ["x"]\n# why\ntimout = 3',
            "11: checks[0].timout: no such setting",
            "did you mean 'timeout'?",
        ),
        (
            BASED + '[[checks]]\nname = "a"\ncommand = ["x"]\ntimeout = 0',
            "10: checks[0].timeout: 0 is out of bounds",
            "3600",
        ),
        (
            BASED + '[[checks]]\nname = "a"\ncommand = ["x"]\n\n[[checks]]\nname = "a"\ncommand = ["y"]',
            "12: checks[1].name: 'a' is there twice",
            "rename",
        ),
    ],
)
def test_a_wrong_template_is_refused_by_file_line_and_key(text: str, cause: str, remedy: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read(text, "lab/template.toml")
    assert caught.value.cause.startswith(f"lab/template.toml:{cause}"), caught.value.cause
    assert remedy in caught.value.remedy
    assert "\n" not in caught.value.cause + caught.value.remedy


def test_a_base_that_no_image_can_have_is_refused() -> None:
    document = read(HEAD + 'base = "{{b}}"\n[[parameters]]\nname="b"\ndescription="base"\ndefault="x"', "lab")
    with pytest.raises(InvalidInput, match="'..' is not a part"):
        render(document, {"b": "../../x"})


def test_services_bring_their_init() -> None:
    text = BASED + '[[services]]\nname = "web"\ncommand = "serve it"\nready = ["probe", "a b"]\n'
    plan = render(read(text, "lab"), {})
    assert plan.command == (SERVICES_PROGRAM,)
    assert "'serve it'" in plan.files[SERVICES_PROGRAM]
    assert "probe 'a b'" in plan.files[SERVICES_PROGRAM]
    assert render(read(text.replace("[[serv", 'command = ["x"]\n[[serv'), "lab"), {}).command == ("x",)


def test_a_variant_brings_services_and_checks_besides_the_usual_ones() -> None:
    document = read(
        BASED
        + """
[[parameters]]
name = "release"
description = "which"
default = "12"
choices = ["12", "20.04"]
[[services]]
name = "usual"
command = "exec usual"
[[variants]]
when = { release = ["20.04"] }
steps = ["further"]
[[variants.services]]
name = "further"
command = "exec further {{release}}"
[[variants.checks]]
name = "further"
command = ["further"]
""",
        "template.toml",
    )
    usual, further = render(document, {}), render(document, {"release": "20.04"})
    assert [service.name for service in usual.services] == ["usual"]
    assert [service.command for service in further.services] == ["exec usual", "exec further 20.04"]
    assert (usual.checks, [check.name for check in further.checks]) == ((), ["further"])


def test_a_template_may_bring_a_profile_for_its_system_calls() -> None:
    text = BASED + '[requests]\nseccomp_profile = "strict"\n'
    assert render(read(text, "lab"), {}).seccomp_profile == "strict"


def test_a_templates_profile_yields_to_the_one_that_was_asked_for() -> None:
    assert with_template(Security(), "strict").seccomp_profile == "strict"
    assert with_template(Security(seccomp_profile="unconfined"), "strict").seccomp_profile == "unconfined"
    assert with_template(Security(privileged=True), "strict").seccomp_profile == "default"
