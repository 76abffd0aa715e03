"""What is wrong in Compose files: each error names file, line and key, and nothing ends in a traceback."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_box import at, checked, project, service_text
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from multios.compose.keys import KEYS
from multios.compose.project import Request, read
from multios.errors import InvalidInput, MultiosError

SERVICES: list[tuple[str, str]] = [
    # keys of the service web, what the error says behind "compose.yaml:LINE: services.web"
    ("tty: 5", ".tty: expected true or false, got '5'"),
    ("ports: 80", ".ports: expected a list, got '80'"),
    ("ports: [http]", ".ports[0]: expected a port such as 80, 8000-8010 or 53/udp, got 'http'"),
    ("ports: ['70000']", ".ports[0]: 70000 are no ports"),
    ("ports: ['90-80:90-80']", ".ports[0]: 90-80 are no ports"),
    ("ports: ['8000-8001:80-82']", ".ports[0]: 8000-8001 and 80-82 are not equally many ports"),
    ("ports: ['1-65535']", ".ports[0]: 1-65535 are more than 4096 ports"),
    ("ports: ['80/icmp']", ".ports[0]: 'icmp' is no protocol"),
    ("ports: ['a.b:80:80']", ".ports[0]: expected an IP address, got 'a.b'"),
    ("ports: ['1:2:3:4']", ".ports[0]: expected [[ADDRESS:]HOST:]CONTAINER[/PROTOCOL]"),
    ("ports: ['80/tcp/udp']", ".ports[0]: expected [[ADDRESS:]HOST:]CONTAINER[/PROTOCOL]"),
    ("ports: [{published: 80}]", ".ports[0]: target is missing"),
    ("ports: [{target: 80, published: 2-1}]", ".ports[0].published: 2-1 are no ports"),
    ("post_start: [{user: a}]", ".post_start[0]: command is missing"),
    ("post_start: [{command: []}]", ".post_start[0]: command is missing"),
    ("post_start: [echo]", ".post_start[0]: expected a mapping"),
    ("pre_stop: [{command: a, privileged: true}]", ".pre_stop[0].privileged: privileged is not supported"),
    ("pre_stop: [{command: a, working_dir: srv}]", ".pre_stop[0].working_dir: expected an absolute path"),
    ("ports: [{target: 0}]", ".ports[0].target: expected a whole number from 1 to 65535, got '0'"),
    ("volumes: ['data:/d']", ".volumes[0]: there is no volume 'data'"),
    ("volumes: ['./a:b']", ".volumes[0]: 'b' is no place inside"),
    ("volumes: ['./a:/b/../c']", ".volumes[0]: '/b/../c' is no place inside"),
    ("volumes: ['./a:/']", ".volumes[0]: '/' is no place inside"),
    ("volumes: ['./a:/b:rw,shared']", ".volumes[0]: the option 'shared' is not supported"),
    ("volumes: ['./a:/b', '/c:/b/']", ".volumes[1]: /b is mounted twice"),
    ("volumes: ['./a:/b:ro:x']", ".volumes[0]: expected [SOURCE:]PATH[:ro]"),
    ("volumes: [{type: npipe, target: /a}]", ".volumes[0].type: expected one of bind, volume, tmpfs, got 'npipe'"),
    ("volumes: [{type: bind, target: /a}]", ".volumes[0]: source is missing"),
    ("volumes: [{type: bind, source: x}]", ".volumes[0]: target is missing"),
    ("volumes: [{type: volume, target: /a, tmpfs: {size: 1}}]", ".volumes[0].tmpfs: this is a volume"),
    ("volumes: [{type: tmpfs, target: /a, tmpfs: {mode: 0700}}]", ".volumes[0].tmpfs.mode: it is 01777"),
    ("volumes: [{type: bind, source: /a, target: /a, bind: {propagation: shared}}]", ".bind.propagation: 'shared' is not"),
    ("{scale: 2, volumes: [/data]}", ".volumes[0]: 2 containers would share this volume without a name"),
    ("tmpfs: '/a:noexec'", ".tmpfs: the option 'noexec' is not supported"),
    ("tmpfs: '/a:mode=0700'", ".tmpfs: the option 'mode=0700' is not supported"),
    ("networks: [front]", ".networks[0]: there is no network 'front'"),
    ("networks: {front: {}}", ".networks.front: there is no network 'front'"),
    ("networks: [default, default]", ".networks[1]: network 'app_default' is named twice"),
    ("{networks: [default], network_mode: host}", ".network_mode: networks are given too"),
    ("network_mode: service:db", ".network_mode: there is no service 'db'"),
    ("network_mode: service:web", ".network_mode: it is the service itself"),
    ("network_mode: 'service:'", ".network_mode: mode 'service:' is not known"),
    ("network_mode: 'container:-'", ".network_mode: "),
    ("{network_mode: container:db, ports: ['80:80']}", ".ports: the network is that of container 'db'"),
    ("{network_mode: container:db, extra_hosts: [a:1.1.1.1]}", ".extra_hosts: the network is that of container"),
    ("{network_mode: container:db, sysctls: [net.core.somaxconn=1]}", ".sysctls[0]: 'net.core.somaxconn' would be that"),
    ("network_mode: weird", ".network_mode: mode 'weird' is not known"),
    ("networks: {default: {ipv4_address: x}}", ".networks.default.ipv4_address: expected an IPv4 address, got 'x'"),
    ("networks: {default: {ipv6_address: 1.2.3.4}}", ".ipv6_address: expected an IPv6 address, got '1.2.3.4'"),
    ("networks: {default: {aliases: [a b]}}", ".networks.default.aliases[0]: 'a b' is no name of a host"),
    ("{scale: 2, networks: {default: {ipv4_address: 10.0.0.1}}}", ".ipv4_address: 2 containers cannot have one address"),
    ("mac_address: 03:00:00:00:00:01", ".mac_address: expected a MAC of one interface"),
    ("depends_on: [bd]", ".depends_on[0]: there is no service 'bd'"),
    ("depends_on: {web: {condition: ready}}", ".depends_on.web.condition: expected one of service_started"),
    ("links: [nothing]", ".links[0]: there is no service 'nothing'"),
    ("volumes_from: ['container:x']", ".volumes_from[0]: there is no service 'container'"),
    ("volumes_from: ['web:x']", ".volumes_from[0]: expected SERVICE or SERVICE:ro, got 'web:x'"),
    ("environment: 5", ".environment: expected a mapping, got '5'"),
    ("environment: {A: [1]}", ".environment.A: expected text, got a list"),
    ("environment: [=x]", ".environment[0]: '=x' has no name"),
    ("environment: {A=B: x}", ".environment.A=B: 'A=B' is no variable's name"),
    ("env_file: absent.env", ".env_file: "),
    ("env_file: [{required: true}]", ".env_file[0]: path is missing"),
    ("env_file: [{path: a, format: json}]", ".env_file[0].format: expected one of raw, got 'json'"),
    ("command: 'echo \"x'", ".command: it cannot be split into words: No closing quotation"),
    ("command: {a: b}", ".command: expected a list, got a mapping"),
    ("command: [[a]]", ".command[0]: expected text, got a list"),
    ("healthcheck: {test: [curl]}", ".healthcheck.test: it is no test"),
    ("healthcheck: {test: ''}", ".healthcheck.test: expected a command, got ''"),
    ("healthcheck: {interval: soon}", ".healthcheck.interval: 'soon' is not a duration"),
    ("healthcheck: {interval: 48h}", ".healthcheck.interval: '48h' is out of bounds"),
    ("healthcheck: {interval: 1us}", ".healthcheck.interval: it is too short"),
    ("stop_grace_period: 1x", ".stop_grace_period: '1x' is not a duration"),
    ("stop_signal: SIGNOT", ".stop_signal: there is no signal 'SIGNOT'"),
    ("cap_add: [NET_ADMN]", ".cap_add[0]: there is no capability 'NET_ADMN'"),
    ("security_opt: ['label:disable']", ".security_opt[0]: 'label:disable' is not supported"),
    ("security_opt: ['seccomp:./absent.json']", ".security_opt[0]: "),
    ("mem_limit: 1m", ".mem_limit: '1m' is out of bounds"),
    ("mem_limit: lots", ".mem_limit: 'lots' is not a size"),
    ("mem_limit: 1.2.3m", ".mem_limit: '1.2.3m' is not a size"),
    ("memswap_limit: 1g", ".memswap_limit: memory itself is not limited"),
    ("cpus: 0.001", ".cpus: expected at least 0.01 cores"),
    ("cpus: '1_0'", ".cpus: expected a number, got '1_0'"),
    ("scale: '1_0'", ".scale: expected a whole number"),
    ("cpus: nan", ".cpus: expected a number from 0 to 65536"),
    ("cpu_period: 100", ".cpu_period: there is no cpu_quota"),
    ("{cpus: 1, cpu_quota: 50000}", ".cpu_quota: cpus says something else"),
    ("cpuset: a-b", ".cpuset: expected processors such as 0-3"),
    ("{mem_limit: 64m, deploy: {resources: {limits: {memory: 32m}}}}", ".mem_limit: services.web.deploy.resources.limits.memory"),
    ("ulimits: {files: 1}", ".ulimits.files: there is no limit 'files'"),
    ("ulimits: {nofile: {soft: 2, hard: 1}}", ".ulimits.nofile.soft: it is above the hard limit"),
    ("ulimits: {nofile: {soft: 2}}", ".ulimits.nofile: expected a number, or soft and hard"),
    ("restart: sometimes", ".restart: expected no, always, unless-stopped or on-failure[:N], got 'sometimes'"),
    ("restart: always:3", ".restart: expected no, always"),
    ("deploy: {restart_policy: {condition: any, max_attempts: 3}}", ".max_attempts: attempts are counted for condition"),
    ("deploy: {mode: replicated-job}", ".deploy.mode: mode 'replicated-job' is not supported"),
    ("deploy: {replicas: 5000}", ".deploy.replicas: expected a whole number from 0 to 1000"),
    ("{scale: 2, deploy: {replicas: 3}}", ".scale: services.web.deploy.replicas says something else"),
    ("{scale: 2, container_name: a}", ".container_name: 2 containers cannot have one name"),
    ("container_name: a b", ".container_name: 'a b' is not allowed as a name"),
    ("hostname: a_b", ".hostname: 'a_b' is no name of a host"),
    ("domainname: a.b", ".domainname: there is no hostname before it"),
    ("{network_mode: none, extra_hosts: ['a:host-gateway']}", ".extra_hosts[0]: with network_mode none the host"),
    ("extra_hosts: {a: [1.1.1.1, 2.2.2.2]}", ".extra_hosts.a: a name has one address here"),
    ("dns: [one]", ".dns[0]: expected an IP address, got 'one'"),
    ("devices: [dev/x]", ".devices[0]: a device is /dev/NAME"),
    ("devices: ['/dev/a:/dev/b:x']", ".devices[0]: 'x' is no access"),
    ("devices: [{target: /dev/x}]", ".devices[0]: source is missing"),
    ("configs: [c]", ".configs[0]: configs has no 'c'"),
    ("secrets: [{target: c}]", ".secrets[0]: source is missing"),
    ("storage_opt: {colour: red}", ".storage_opt.colour: the option 'colour' is not supported"),
    ("logging: {options: {max-file: 0}}", ".logging.options.max-file: expected a whole number from 1 to 100"),
    ("working_dir: here", ".working_dir: expected an absolute path, got 'here'"),
    ("image: ''", ".image: expected the name of an image, got ''"),
    ("{template: t, image: i}", ".image: there is a template too"),
    ("template: {options: {}}", ".template: name is missing"),
    ("build: https://example.org/x.git", ".build: 'https://example.org/x.git' would have to be fetched"),
    ("build: {}", ".build: context is missing"),
    ("build: {context: ., dockerfile: a, dockerfile_inline: b}", ".build.dockerfile_inline: there is a dockerfile too"),
    ("build: {context: ., platforms: [a, b]}", ".build.platforms: a build is for one platform"),
    ("build: {context: ., network: mine}", ".build.network: expected one of default, none, host, got 'mine'"),
    ("build: {context: ., secrets: [s]}", ".build.secrets[0]: secrets has no 's'"),
    ("pull_policy: build", ".pull_policy: there is nothing to build"),
    ("pull_policy: often", ".pull_policy: expected one of always, never, missing"),
    ("attach: maybe", ".attach: expected true or false"),
    ("expose: [x]", ".expose[0]: expected a port such as"),
    ("sysctls: {vm.swappiness: 1}", ".sysctls.vm.swappiness: 'vm.swappiness' is the whole host's"),
    ("{network_mode: host, sysctls: [net.core.somaxconn=1]}", ".sysctls[0]: 'net.core.somaxconn' would be the host's"),
    ("ipc: host", ".ipc: 'host' is not supported"),
    ("labels: {a: {b: c}}", ".labels.a: expected text, got a mapping"),
]  # fmt: skip

FILES: list[tuple[str, str]] = [
    # a whole file, what the error says
    ("services: {web: }", "compose.yaml:1: services.web: expected a mapping, got nothing"),
    ("services: {web: {}}", "compose.yaml:1: services.web: it has neither image, build nor template"),
    ("services: [web]", "compose.yaml:1: services: expected a mapping, got a list"),
    ("services:\n  'a b': {image: i}", "compose.yaml:2: services.a b: 'a b' is not allowed as a name"),
    ("networks: {n: {drver: x}}", "compose.yaml:1: networks.n.drver: there is no key 'drver'"),
    ("configs: {c: }\nservices: {web: {image: i, configs: ['']}}", "compose.yaml:2: services.web.configs[0]: '' is no place"),
    ("servces: {}", "compose.yaml:1: servces: there is no such key"),
    ("services: {web: {imgae: i}}", "compose.yaml:1: services.web.imgae: there is no key 'imgae'"),
    ("services: {web: {image: i, networks: [n]}}\nnetworks: {n: {driver: overlay}}",
        "compose.yaml:2: networks.n.driver: networks do not reach over several hosts"),
    ("services: {web: {image: i, networks: [n]}}\nnetworks: {n: {external: true, driver: bridge}}",
        "compose.yaml:2: networks.n.driver: an external network is not the app's to define"),
    ("services: {web: {image: i, networks: [n]}}\nnetworks: {n: {name: host}}",
        "compose.yaml:2: networks.n: 'host' is the engine's own"),
    ("services: {web: {image: i, networks: [n]}}\nnetworks: {n: {ipam: {config: [{subnet: 10.0.0.1}]}}}",
        "compose.yaml:2: networks.n.ipam.config[0].subnet: expected a subnet such as 10.20.0.0/24, got '10.0.0.1'"),
    ("services: {web: {image: i, networks: [n]}}\nnetworks: {n: {ipam: {config: [{subnet: 10.0.0.0/8}, {subnet: 11.0.0.0/8}]}}}",
        "compose.yaml:2: networks.n.ipam.config[1]: a network has one subnet of each family"),
    ("services:\n  web: {image: i, container_name: a}\n  db: {image: i, container_name: a}",
        "compose.yaml:3: services.db.container_name: service 'web' has the name 'a' too"),
    ("services: {web: {image: i, volumes: ['v:/v:ro']}}\nvolumes: {v: {driver_opts: {type: tmpfs}}}",
        "compose.yaml:1: services.web.volumes[0]: a tmpfs is not read-only"),
    ("services: {web: {image: i, volumes: ['v:/v']}}\nvolumes: {v: {driver_opts: {type: tmpfs, o: size=big}}}",
        "compose.yaml:2: volumes.v.driver_opts: 'big' is not a size"),
    ("services: {web: {image: i, networks: [n]}}\nnetworks: {n: {driver_opts: {com.docker.network.bridge.trusted: br9}}}",
        "compose.yaml:2: networks.n.driver_opts.com.docker.network.bridge.trusted: an option of docker's"),
    ("services: {web: {image: i, networks: [n]}}\nnetworks: {n: {enable_ipv4: false}}",
        "compose.yaml:2: networks.n.enable_ipv4: every network has IPv4"),
    ("services: {web: {image: i, networks: [n, default]}}\nnetworks: {n: {external: true, name: host}}",
        "compose.yaml:1: services.web.networks: 'host' and 'none' stand alone"),
    ("services: {web: {image: i, volumes: ['v:/v']}}\nvolumes: {v: {driver: nfs}}",
        "compose.yaml:2: volumes.v.driver: there is no volume driver 'nfs'"),
    ("services: {web: {image: i, volumes: ['v:/v']}}\nvolumes: {v: {driver_opts: {type: nfs, device: ':/x'}}}",
        "compose.yaml:2: volumes.v.driver_opts: the only options are those of a directory"),
    ("services: {web: {image: i, configs: [c]}}\nconfigs: {c: {content: a, file: b}}",
        "compose.yaml:2: configs.c: it must come from one place"),
    ("services: {web: {image: i, configs: [c]}}\nconfigs: {c: {}}", "compose.yaml:2: configs.c: it must come from one place"),
    ("services: {web: {image: i, secrets: [c]}}\nsecrets: {c: {environment: ABSENT}}",
        "compose.yaml:2: secrets.c.environment: variable ABSENT is not set"),
    ("services: {web: {image: i, secrets: [c]}}\nsecrets: {c: {file: ./absent}}", "compose.yaml:2: secrets.c.file: "),
    ("services: {web: {image: i, configs: [{source: c, target: ../x}]}}\nconfigs: {c: {content: a}}",
        "compose.yaml:1: services.web.configs[0].target: '../x' is no place inside"),
    ("services: {web: {image: i, configs: [{source: c, mode: rw}]}}\nconfigs: {c: {content: a}}",
        "compose.yaml:1: services.web.configs[0].mode: expected a mode such as 0440, got 'rw'"),
    ("services: {web: {image: i, links: ['db:x'], networks: [a]}, db: {image: i}}\nnetworks: {a: }",
        "compose.yaml:1: services.web.links[0]: 'db' is on none of this service's networks"),
]  # fmt: skip


@pytest.mark.parametrize(("snippet", "cause"), SERVICES)
def test_errors_in_services_name_file_line_and_key(tmp_path: Path, snippet: str, cause: str) -> None:
    text = f"services:\n  web: {snippet}\n" if snippet.startswith("{") else service_text(snippet)
    if snippet.startswith("{") and "image" not in snippet:
        text = text.replace("web: {", "web: {image: i, ", 1)
    with pytest.raises(InvalidInput) as caught:
        project(tmp_path, text)
    place, _, rest = caught.value.cause.partition(": services.web")
    assert cause in rest
    assert place in ("compose.yaml:2", "compose.yaml:3", "compose.yaml:4")
    assert caught.value.remedy and "\n" not in caught.value.cause + caught.value.remedy


@pytest.mark.parametrize(("text", "cause"), FILES)
def test_errors_in_files_name_file_line_and_key(tmp_path: Path, text: str, cause: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        project(tmp_path, text)
    assert caught.value.cause.startswith(cause)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("modes", "cause"),
    [
        (("service:b", "service:c", "none"), "service 'b' uses the network of another one itself"),
        (("service:b", "service:a", "none"), "service 'b' uses the network of another one itself"),
        (("service:b", "container:x", "none"), "service 'b' uses the network of another one itself"),
        (("service:b", "host", "none"), "service 'b' has the host's network"),
    ],
)
def test_a_network_is_shared_with_who_has_one(tmp_path: Path, modes: tuple[str, ...], cause: str) -> None:
    services = ", ".join(
        f"{name}: {{image: i, network_mode: '{mode}'}}" for name, mode in zip("abc", modes, strict=True)
    )
    with pytest.raises(InvalidInput, match="compose.yaml:1: .*network_mode") as caught:
        project(tmp_path, f"services: {{{services}}}")
    assert cause in caught.value.cause


def test_services_that_share_and_depend_in_a_circle_are_refused(tmp_path: Path) -> None:
    text = "services: {a: {image: i, network_mode: 'service:b'}, b: {image: i, depends_on: [a]}}"
    with pytest.raises(InvalidInput, match="in a circle: a -> b -> a"):
        checked(project(tmp_path, text))


@pytest.mark.parametrize(
    ("snippet", "warning"),
    [
        ("volumes: ['/a:/b:z']", ".volumes[0]: the engine sets no SELinux labels"),
        ("logging: {driver: syslog}", ".logging.driver: 'syslog' is left out: the log is the engine's own"),
        ("logging: {options: {tag: x}}", ".logging.options.tag: the option is left out"),
        ("pull_policy: weekly", ".pull_policy: weekly is taken as missing"),
        (
            "{network_mode: host, ports: ['80:80']}",
            ".ports: they are left out: network 'host' publishes none",
        ),
    ],
)
def test_what_is_left_out_is_said(tmp_path: Path, snippet: str, warning: str) -> None:
    text = (
        f"services: {{web: {{image: i, {snippet[1:]}}}" if snippet.startswith("{") else service_text(snippet)
    )
    made = project(tmp_path, text)
    assert any(warning in item and item.startswith("compose.yaml:") for item in made.warnings)
    checked(made)


def test_a_config_and_a_secret_of_one_name_are_two_files(tmp_path: Path) -> None:
    text = "services: {web: {image: i, configs: [x], secrets: [x]}}\nconfigs: {x: {content: a}}\nsecrets: {x: {file: y}}"
    made = project(tmp_path, text, {"y": "b"})
    assert set(made.document["files"]) == {"x", "x.secret"}
    assert [item["source"] for item in made.document["services"]["web"]["files"]] == ["x", "x.secret"]
    checked(made)


def test_a_secret_is_in_no_error_and_not_in_the_merged_model(tmp_path: Path) -> None:
    text = "services: {web: {image: i, secrets: [s]}}\nsecrets: {s: {environment: TOKEN}}"
    made = project(tmp_path, text, environment={"TOKEN": "hunter2"})
    assert "hunter2" not in str(made.config)


def test_networks_and_volumes_that_no_service_uses_are_not_made(tmp_path: Path) -> None:
    made = project(
        tmp_path, "services: {web: {image: i, network_mode: none}}\nnetworks: {n: }\nvolumes: {v: }"
    )
    assert set(made.document) == {"name", "services"}


@pytest.mark.parametrize(
    ("app", "service", "image"), [("a-b_c", "Web_1", "a-b_c-web_1"), ("a_", "x.-y__", "a_x.y")]
)
def test_what_is_built_has_a_name_that_is_a_reference(
    tmp_path: Path, app: str, service: str, image: str
) -> None:
    made = project(tmp_path, f"services: {{{service}: {{build: .}}}}", project_name=app)
    assert made.builds[service]["image"] == image


def test_an_external_network_of_the_hosts_is_the_mode_host(tmp_path: Path) -> None:
    made = project(
        tmp_path, "services: {web: {image: i, networks: [n]}}\nnetworks: {n: {external: true, name: host}}"
    )
    assert at(made.document, "services/web/container/networking") == {"networks": ["host"]}
    assert "networks" not in made.document
    checked(made)


def test_ten_services_are_read_in_a_few_milliseconds(tmp_path: Path) -> None:
    service = "{image: 'i:$A', ports: ['80'], environment: {A: 1, B: 2}, volumes: ['v:/v'], networks: [n], depends_on: [s0]}"
    services = "\n".join(f"  s{number}: {service}" for number in range(1, 10))
    text = f"services:\n  s0: {{image: i}}\n{services}\nvolumes: {{v: }}\nnetworks: {{n: }}"
    (tmp_path / "compose.yaml").write_text(text)
    request = Request(directory=str(tmp_path), environment={"A": "1"}, project_name="app")
    times = []
    for _ in range(10):
        begin = time.thread_time()
        read(request)
        times.append(time.thread_time() - begin)
    assert min(times) < 0.015


# --- anything at all --------------------------------------------------------------------------------------------

NAMES = sorted({key for keys in KEYS.values() for key in keys} | {"web", "db", "x-y"})
TEXTS = st.sampled_from(
    ["", "a", "./a:/b", "/x", "80:80", "1m", "$A", "${A:-b}", "$", "yes", "none", "host", "service:db", "db", "web", "1.5", "../..",
     "a=b", "bind", "volume", "tmpfs", "no", "10.0.0.0/8", "::1", "é", "\ud83d".encode("utf-16", "surrogatepass").decode("utf-16", "replace")]
) | st.text(max_size=12)  # fmt: skip
SCALARS = st.none() | st.booleans() | st.integers(-5, 70_000) | st.floats(allow_nan=False) | TEXTS
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=12,
)
SERVICE = st.dictionaries(st.sampled_from(sorted(KEYS["service"])), ANYTHING, max_size=3)


def judged(directory: Path, text: str) -> None:
    """Read or refused; what is read has a document that the door takes or refuses."""
    (directory / "compose.yaml").write_text(text, encoding="utf-8", errors="replace")
    try:
        made = read(Request(directory=str(directory), environment={}, project_name="app"))
        checked(made)
    except MultiosError as error:
        assert error.cause and "\n" not in error.cause


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    services=st.dictionaries(st.sampled_from(["web", "db"]), SERVICE, min_size=1, max_size=2),
    image=st.booleans(),
)
def test_any_service_is_read_or_refused(tmp_path: Path, services: dict[str, Any], image: bool) -> None:
    for service in services.values():
        if image:
            service.setdefault("image", "nginx")
    judged(tmp_path, yaml.safe_dump({"services": services, "volumes": {"a": None}, "networks": {"db": None}}))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(sorted(KEYS["compose"])), ANYTHING, max_size=4))
def test_any_structure_is_read_or_refused(tmp_path: Path, document: dict[str, Any]) -> None:
    judged(tmp_path, yaml.safe_dump(document))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(SERVICE, SERVICE)
def test_any_two_files_are_merged_or_refused(
    tmp_path: Path, one: dict[str, Any], other: dict[str, Any]
) -> None:
    documents = [{"services": {"web": {"image": "nginx", **item}}} for item in (one, other)]
    judged(tmp_path, yaml.safe_dump_all(documents))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(alphabet="servicweb:{}[]\n -$&*!<#'\"|>i", max_size=80))
def test_any_text_is_read_or_refused(tmp_path: Path, text: str) -> None:
    judged(tmp_path, f"services:\n  web:\n    image: i\n{text}")


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        (
            "services: {web: {image: i}}\nnetworks: {default: {driver_opts: {com.docker.network.bridge.name: br9}}}",
            "networks.default.driver_opts.com.docker.network.bridge.name: it is left out",
        ),
        (
            "services: {web: {image: i, volumes: ['v:/v']}}\nvolumes: {v: {driver_opts: {type: tmpfs, o: 'uid=5'}}}",
            "volumes.v.driver_opts: the option 'uid=5' is left out",
        ),
    ],
)
def test_options_that_are_left_out_are_said(tmp_path: Path, text: str, warning: str) -> None:
    made = project(tmp_path, text)
    assert any(warning in item for item in made.warnings)
    checked(made)
