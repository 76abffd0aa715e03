"""Every key of the Compose Specification: what it becomes, or that it is refused or warned of."""

from __future__ import annotations

import base64
import textwrap
from pathlib import Path
from typing import Any

import pytest
from compose_box import at, checked, project, service_text

from multios.compose import capabilities, limits
from multios.compose.keys import IGNORED, KEYS, PARTLY, REFUSED, YES
from multios.errors import InvalidInput
from multios.model import container_document, resources_section

Case = tuple[str, str, str, dict[str, Any]]

SERVICE: list[Case] = [
    # section, key, keys of the service web, {path in its part of the document: value}
    ("service", "blkio_config", "blkio_config: {}", {}),
    ("service", "cap_add", "cap_add: [NET_ADMIN]", {"container/security/capabilities": ["NET_ADMIN"]}),
    ("service", "cap_drop", "cap_drop: [ALL]", {"container/security/drop_capabilities": ["ALL"]}),
    ("service", "cgroup", "cgroup: private", {"container/security": None}),
    ("service", "command", "command: echo 'a b' c", {"container/command": ["echo", "a b", "c"]}),
    ("service", "command", "command: [echo, 1, true]", {"container/command": ["echo", "1", "true"]}),
    ("service", "command", "command:", {"container/command": None}),
    ("service", "container_name", "container_name: my_web", {"container_name": "my_web"}),
    ("service", "cpu_quota", "cpu_quota: 50000", {"container/resources/cpu_limit": 0.5}),
    ("service", "cpu_period", "{cpu_quota: 50000, cpu_period: 25ms}", {"container/resources/cpu_limit": 2.0}),
    ("service", "cpu_shares", "cpu_shares: 512", {"container/resources/cpu_shares": 512}),
    ("service", "cpus", 'cpus: "1.5"', {"container/resources/cpu_limit": 1.5}),
    ("service", "cpus", "cpus: 0", {"container/resources": None}),
    ("service", "cpuset", "cpuset: 0-1", {"container/resources/cpuset": "0-1"}),
    ("service", "deploy", "deploy: {}", {"replicas": None}),
    ("service", "devices", "devices: ['/dev/fuse', '/dev/a:/dev/b:r']", {
        "container/devices/0": {"host": "/dev/fuse", "container": "/dev/fuse", "access": "rwm"},
        "container/devices/1": {"host": "/dev/a", "container": "/dev/b", "access": "r"}}),
    ("service", "dns", "dns: 9.9.9.9", {"container/networking/dns": ["9.9.9.9"]}),
    ("service", "dns", "dns: [9.9.9.9, '2620:fe::fe']", {"container/networking/dns": ["9.9.9.9", "2620:fe::fe"]}),
    ("service", "dns_search", "dns_search: example.org", {"container/networking/dns_search": ["example.org"]}),
    ("service", "domainname", "{hostname: h, domainname: d.org}", {
        "container/hostname": "h",
        "container/networking/attachments/app_default/aliases": ["web", "h.d.org"]}),
    ("service", "entrypoint", "entrypoint: /run.sh -x", {"container/entrypoint": ["/run.sh", "-x"]}),
    ("service", "entrypoint", "entrypoint: []", {"container/entrypoint": []}),
    ("service", "environment", "environment: {A: 1.10, B: true, C: yes, D: 0640, E: '', F: }", {
        "container/environment": {"A": "1.10", "B": "true", "C": "yes", "D": "0640", "E": ""}}),
    ("service", "environment", "environment: [A=1, B=c=d, HOME]", {
        "container/environment": {"A": "1", "B": "c=d", "HOME": "/home/me"}}),
    ("service", "expose", "expose: [80, '8000-8010', 53/udp]", {"container/networking/ports": None}),
    ("service", "extra_hosts", "extra_hosts: ['a:10.0.0.1', 'b=10.0.0.2', 'c:::1']", {
        "container/networking/extra_hosts": {"a": "10.0.0.1", "b": "10.0.0.2", "c": "::1"}}),
    ("service", "extra_hosts", "extra_hosts: ['host.docker.internal:host-gateway']", {
        "container/networking/extra_hosts": {"host.docker.internal": "host-gateway"}}),
    ("service", "extra_hosts", "extra_hosts: {a: 10.0.0.1, b: '[::1]'}", {
        "container/networking/extra_hosts": {"a": "10.0.0.1", "b": "::1"}}),
    ("service", "group_add", "group_add: [mail, 1000]", {"container/groups": ["mail", "1000"]}),
    ("service", "hostname", "hostname: box", {"container/hostname": "box"}),
    ("service", "image", "image: nginx:1.25", {"container/image": "nginx:1.25"}),
    ("service", "init", "init: true", {"container/init": True}),
    ("service", "ipc", "ipc: private", {}),
    ("service", "isolation", "isolation: oci", {"container/drivers": {"isolation": "oci"}}),
    ("service", "isolation", "isolation: default", {"container/drivers": None}),
    ("service", "labels", "labels: [a=b, c]", {"container/labels": {"a": "b", "c": ""}}),
    ("service", "labels", "labels: {a: b, c: 1.0, d: true}", {"container/labels": {"a": "b", "c": "1.0", "d": "true"}}),
    ("service", "mac_address", "mac_address: 02:42:ac:11:00:03", {
        "container/networking/attachments/app_default/mac": "02:42:ac:11:00:03"}),
    ("service", "mem_limit", "mem_limit: 64m", {"container/resources/memory_limit": 64 << 20}),
    ("service", "mem_limit", "mem_limit: 0", {"container/resources": None}),
    ("service", "memswap_limit", "{mem_limit: 64m, memswap_limit: 1gb}", {"container/resources/memory_swap": 1 << 30}),
    ("service", "memswap_limit", "{mem_limit: 64m, memswap_limit: -1}", {"container/resources/memory_swap": -1}),
    ("service", "network_mode", "network_mode: none", {"container/networking": {"networks": ["none"]}}),
    ("service", "network_mode", "network_mode: container:db", {"container/networking": {"networks": ["container:db"]}}),
    ("service", "network_mode", "network_mode: host", {"container/networking": {"networks": ["host"]}}),
    ("service", "network_mode", "network_mode: bridge", {"container/networking": {"networks": ["default"]}}),
    ("service", "pids_limit", "pids_limit: 50", {"container/resources/pids_limit": 50}),
    ("service", "pids_limit", "pids_limit: -1", {"container/resources/pids_limit": -1}),
    ("service", "ports", "ports: [80, '8080:80', '127.0.0.1:53:53/udp', '[::1]:81:81', '9000-9001:90-91', '10.0.0.1::7']", {
        "container/networking/ports": [
            {"container": 80}, {"container": 80, "host": 8080},
            {"container": 53, "host": 53, "protocol": "udp", "address": "127.0.0.1"},
            {"container": 81, "host": 81, "address": "::1"},
            {"container": 90, "host": 9000}, {"container": 91, "host": 9001},
            {"container": 7, "address": "10.0.0.1"}]}),
    ("service", "ports", "ports: [22:22, 5000-5001]", {
        "container/networking/ports": [{"container": 22, "host": 22}, {"container": 5000}, {"container": 5001}]}),
    ("service", "privileged", "privileged: true", {"container/security/privileged": True}),
    ("service", "read_only", "read_only: yes", {
        "container/security": {"read_only": True, "read_only_tmpfs": False}}),
    ("service", "restart", "restart: no", {"container/restart_policy": "no"}),
    ("service", "restart", "restart: on-failure:3", {"container/restart_policy": "on-failure:3"}),
    ("service", "restart", "restart: unless-stopped", {"container/restart_policy": "unless-stopped"}),
    ("service", "scale", "scale: 3", {"replicas": 3}),
    ("service", "security_opt", "security_opt: ['no-new-privileges:true', seccomp=unconfined, 'apparmor:x']", {
        "container/security": {"no_new_privileges": True, "seccomp_profile": "unconfined", "apparmor_profile": "x"}}),
    ("service", "security_opt", "security_opt: [no-new-privileges=false]", {
        "container/security": {"no_new_privileges": False}}),
    ("service", "shm_size", "shm_size: 256m", {"container/shm_size": 256 << 20}),
    ("service", "stdin_open", "stdin_open: true", {"container/open_stdin": True}),
    ("service", "stop_grace_period", "stop_grace_period: 1m30s", {"container/stop_timeout": 90}),
    ("service", "stop_grace_period", "stop_grace_period: 1500ms", {"container/stop_timeout": 2}),
    ("service", "stop_signal", "stop_signal: SIGUSR1", {"container/stop_signal": "SIGUSR1"}),
    ("service", "storage_opt", "storage_opt: {size: 1G}", {"container/resources/disk_limit": 1 << 30}),
    ("service", "sysctls", "sysctls: {net.core.somaxconn: 1024}", {"container/sysctls": {"net.core.somaxconn": "1024"}}),
    ("service", "sysctls", "sysctls: [kernel.shmmax=1]", {"container/sysctls": {"kernel.shmmax": "1"}}),
    ("service", "template", "template: python-learning", {
        "container/template": "python-learning", "container/image": None}),
    ("service", "tmpfs", "tmpfs: /run", {"container/tmpfs": [{"container": "/run"}]}),
    ("service", "tmpfs", "tmpfs: ['/run:size=64m,mode=1777', /tmp]", {
        "container/tmpfs": [{"container": "/run", "size": 64 << 20}, {"container": "/tmp"}]}),
    ("service", "tty", "tty: true", {"container/terminal": True}),
    ("service", "ulimits", "ulimits: {nproc: 100, nofile: {soft: 10, hard: 20}}", {
        "container/rlimits": {"nproc": [100, 100], "nofile": [10, 20]}}),
    ("service", "user", "user: 1000:1000", {"container/user": "1000:1000"}),
    ("service", "userns_mode", "userns_mode: host", {"container/security/user_namespace": "host"}),
    ("service", "volumes", "volumes: ['/a:/b:ro', './c:/d', '~/e:/f', '/data']", {
        "container/volumes/0": {"host": "/a", "container": "/b", "mode": "ro"},
        "container/volumes/1": {"host": "HERE/c", "container": "/d"},
        "container/volumes/3": {"volume": "app_web_data", "container": "/data"}}),
    ("service", "working_dir", "working_dir: /srv", {"container/working_directory": "/srv"}),
    ("blkio_config", "weight", "blkio_config: {weight: 300}", {}),
    ("deploy", "mode", "deploy: {mode: replicated, replicas: 2}", {"replicas": 2}),
    ("deploy", "mode", "deploy: {mode: global, replicas: 2}", {"replicas": None}),
    ("deploy", "replicas", "deploy: {replicas: 0}", {"replicas": 0}),
    ("deploy", "resources", "deploy: {resources: {}}", {"container/resources": None}),
    ("deploy", "restart_policy", "{restart: always, deploy: {restart_policy: {condition: none}}}", {
        "container/restart_policy": "no"}),
    ("deploy", "update_config", "deploy: {update_config: {}}", {"update": None}),
    ("deploy.resources", "limits", "deploy: {resources: {limits: {}}}", {"container/resources": None}),
    ("deploy.resources", "reservations", "deploy: {resources: {reservations: {}}}", {"container/resources": None}),
    ("deploy.resources.limits", "cpus", "deploy: {resources: {limits: {cpus: '0.5'}}}", {
        "container/resources/cpu_limit": 0.5}),
    ("deploy.resources.limits", "memory", "deploy: {resources: {limits: {memory: 1G}}}", {
        "container/resources/memory_limit": 1 << 30}),
    ("deploy.resources.limits", "pids", "deploy: {resources: {limits: {pids: 9}}}", {
        "container/resources/pids_limit": 9}),
    ("deploy.restart_policy", "condition", "deploy: {restart_policy: {condition: any}}", {
        "container/restart_policy": "always"}),
    ("deploy.restart_policy", "max_attempts", "deploy: {restart_policy: {condition: on-failure, max_attempts: 3}}", {
        "container/restart_policy": "on-failure:3"}),
    ("deploy.update_config", "parallelism", "deploy: {update_config: {parallelism: 2}}", {"update/parallelism": 2}),
    ("deploy.update_config", "delay", "deploy: {update_config: {delay: 1m30s}}", {"update/delay": 90}),
    ("deploy.update_config", "monitor", "deploy: {update_config: {monitor: 500ms}}", {"update/monitor": 0.5}),
    ("deploy.update_config", "order", "deploy: {update_config: {order: start-first}}", {"update/order": "start-first"}),
    ("deploy.update_config", "failure_action", "deploy: {update_config: {failure_action: rollback}}", {
        "update/failure_action": "rollback"}),
    ("devices", "source", "devices: [{source: /dev/fuse}]", {"container/devices/0/container": "/dev/fuse"}),
    ("devices", "target", "devices: [{source: /dev/a, target: /dev/b}]", {"container/devices/0/container": "/dev/b"}),
    ("devices", "permissions", "devices: [{source: /dev/a, permissions: rw}]", {"container/devices/0/access": "rw"}),
    ("healthcheck", "test", "healthcheck: {test: curl -f localhost}", {
        "container/healthcheck/test": ["CMD-SHELL", "curl -f localhost"]}),
    ("healthcheck", "test", "healthcheck: {test: [CMD, curl, localhost]}", {
        "container/healthcheck/test": ["CMD", "curl", "localhost"]}),
    ("healthcheck", "test", "healthcheck: {test: [NONE], interval: 1s}", {"container/healthcheck": {"test": ["NONE"]}}),
    ("healthcheck", "interval", "healthcheck: {interval: 1m30s}", {"container/healthcheck/interval": 90}),
    ("healthcheck", "timeout", "healthcheck: {timeout: 1.5s}", {"container/healthcheck/timeout": 1.5}),
    ("healthcheck", "retries", "healthcheck: {retries: 5}", {"container/healthcheck/retries": 5}),
    ("healthcheck", "start_period", "healthcheck: {start_period: 2h}", {"container/healthcheck/start_period": 7200}),
    ("healthcheck", "start_interval", "healthcheck: {start_interval: 1ms}", {
        "container/healthcheck/start_interval": 0.001}),
    ("healthcheck", "disable", "healthcheck: {disable: true, interval: 1s}", {
        "container/healthcheck": {"test": ["NONE"]}}),
    ("service", "healthcheck", "healthcheck: {}", {"container/healthcheck": None}),
    ("service", "logging", "logging: {}", {"container/log": None}),
    ("logging", "driver", "logging: {driver: json-file}", {"container/log": None}),
    ("logging", "options", "logging: {options: {max-size: 10m, max-file: '3'}}", {
        "container/log": {"max_size": 10 << 20, "max_files": 3}}),
    ("service", "post_start", "post_start: [{command: [a, b]}]", {"post_start": [{"command": ["a", "b"]}]}),
    ("service", "pre_stop", "pre_stop: []", {"pre_stop": None}),
    ("post_start and pre_stop", "command", "pre_stop: [{command: a 'b c'}]", {"pre_stop/0/command": ["a", "b c"]}),
    ("post_start and pre_stop", "user", "pre_stop: [{command: a, user: 1000:1000}]", {"pre_stop/0/user": "1000:1000"}),
    ("post_start and pre_stop", "working_dir", "pre_stop: [{command: a, working_dir: /srv}]", {
        "pre_stop/0/working_directory": "/srv"}),
    ("post_start and pre_stop", "environment", "post_start: [{command: a, environment: [A=1, HOME, NONE]}]", {
        "post_start/0/environment": {"A": "1", "HOME": "/home/me"}}),
    ("ports", "target", "ports: [{target: 80}]", {"container/networking/ports": [{"container": 80}]}),
    ("ports", "published", "ports: [{target: 80, published: '8080'}]", {"container/networking/ports/0/host": 8080}),
    ("ports", "published", "ports: [{target: 80, published: 8080-8090}]", {
        "container/networking/ports": [{"container": 80, "host": 8080, "host_last": 8090}]}),
    ("service", "ports", "ports: ['127.0.0.1:8080-8090:80/udp']", {"container/networking/ports": [
        {"container": 80, "host": 8080, "protocol": "udp", "address": "127.0.0.1", "host_last": 8090}]}),
    ("ports", "host_ip", "ports: [{target: 80, host_ip: 127.0.0.1}]", {
        "container/networking/ports/0/address": "127.0.0.1"}),
    ("ports", "protocol", "ports: [{target: 80, protocol: udp}]", {"container/networking/ports/0/protocol": "udp"}),
    ("ports", "mode", "ports: [{target: 80, mode: host}]", {"container/networking/ports/0": {"container": 80}}),
    ("ports", "name", "ports: [{target: 80, name: web}]", {"container/networking/ports/0": {"container": 80}}),
    ("ports", "app_protocol", "ports: [{target: 80, app_protocol: http}]", {
        "container/networking/ports/0": {"container": 80}}),
    ("template", "name", "template: {name: python-learning}", {"container/template": "python-learning"}),
    ("template", "options", "template: {name: t, options: {editor: nano, size: 3}}", {
        "container/template_options": {"editor": "nano", "size": "3"}}),
    ("ulimits", "soft", "ulimits: {core: {soft: 0, hard: -1}}", {"container/rlimits/core": [0, -1]}),
    ("ulimits", "hard", "ulimits: {core: {soft: 5, hard: 6}}", {"container/rlimits/core": [5, 6]}),
    ("volumes of a service", "type", "volumes: [{type: bind, source: ., target: /a}]", {
        "container/volumes": [{"host": "HERE", "container": "/a"}]}),
    ("volumes of a service", "source", "volumes: [{type: bind, source: ../x, target: /a}]", {
        "container/volumes/0/host": "ABOVE/x"}),
    ("volumes of a service", "target", "volumes: [{type: volume, target: /a/b}]", {
        "container/volumes": [{"volume": "app_web_a-b", "container": "/a/b"}]}),
    ("volumes of a service", "read_only", "volumes: [{type: bind, source: /x, target: /a, read_only: true}]", {
        "container/volumes/0/mode": "ro"}),
    ("volumes of a service", "consistency", "volumes: [{type: bind, source: /x, target: /a, consistency: cached}]", {
        "container/volumes/0/mode": None}),
    ("volumes of a service", "bind", "volumes: [{type: bind, source: /x, target: /a, bind: {}}]", {
        "container/volumes/0/host": "/x"}),
    ("volumes of a service", "volume", "volumes: [{type: volume, target: /a, volume: {}}]", {
        "container/volumes/0/volume": "app_web_a"}),
    ("volumes of a service", "tmpfs", "volumes: [{type: tmpfs, target: /a, tmpfs: {}}]", {
        "container/tmpfs": [{"container": "/a"}]}),
    ("volumes of a service, bind", "create_host_path",
        "volumes: [{type: bind, source: /x, target: /a, bind: {create_host_path: false}}]",
        {"container/volumes/0/host": "/x"}),
    ("volumes of a service, bind", "propagation",
        "volumes: [{type: bind, source: /x, target: /a, bind: {propagation: rprivate}}]",
        {"container/volumes/0/host": "/x"}),
    ("volumes of a service, bind", "recursive",
        "volumes: [{type: bind, source: /x, target: /a, bind: {recursive: enabled}}]",
        {"container/volumes/0/host": "/x"}),
    ("volumes of a service, volume", "nocopy", "volumes: [{type: volume, target: /a, volume: {nocopy: true}}]", {
        "container/volumes/0/volume": "app_web_a", "container/volumes/0/nocopy": True}),
    ("volumes of a service, tmpfs", "size", "volumes: [{type: tmpfs, target: /a, tmpfs: {size: 64m}}]", {
        "container/tmpfs": [{"container": "/a", "size": 64 << 20}]}),
    ("volumes of a service, tmpfs", "mode", "volumes: [{type: tmpfs, target: /a, tmpfs: {mode: 01777}}]", {
        "container/tmpfs": [{"container": "/a"}]}),
]  # fmt: skip

ENCODED = base64.b64encode(b"hello").decode()
PLACE = "services/web/container/networking/attachments/app_front"

APP: list[Case] = [
    # section, key, a whole file, {path in the app document: value}
    ("compose", "version", "version: '3.8'\nservices: {web: {image: nginx}}", {"services/web/container/image": "nginx"}),
    ("compose", "services", "services: {web: {image: nginx}}", {"services/web/container/networking": {
        "networks": ["app_default"], "attachments": {"app_default": {"aliases": ["web"]}}}}),
    ("compose", "networks", "services: {web: {image: i, networks: [front]}}\nnetworks: {front: }", {
        "networks": {"front": {"name": "app_front"}}}),
    ("compose", "volumes", "services: {web: {image: i, volumes: ['data:/d']}}\nvolumes: {data: }", {
        "volumes": {"data": {"name": "app_data"}},
        "services/web/container/volumes": [{"volume": "app_data", "container": "/d"}]}),
    ("compose", "configs", "services: {web: {image: i, configs: [c]}}\nconfigs: {c: {content: hello}}", {
        "files": {"c": {"content": ENCODED}}, "services/web/files": [{"source": "c", "target": "/c"}]}),
    ("compose", "secrets", "services: {web: {image: i, secrets: [s]}}\nsecrets: {s: {file: hello.txt}}", {
        "files": {"s": {"content": ENCODED, "secret": True}},
        "services/web/files": [{"source": "s", "target": "/run/secrets/s"}]}),
    ("service", "configs", "services: {web: {image: i, configs: [{source: c}]}}\nconfigs: {c: {content: hello}}", {
        "services/web/files": [{"source": "c", "target": "/c"}]}),
    ("service", "secrets", "services: {web: {image: i, secrets: [{source: s}]}}\nsecrets: {s: {file: hello.txt}}", {
        "services/web/files": [{"source": "s", "target": "/run/secrets/s"}]}),
    ("service", "depends_on", "services: {web: {image: i, depends_on: [db]}, db: {image: i}}", {
        "services/web/depends_on": {"db": {"condition": "started"}}}),
    ("service", "env_file", "services: {web: {image: i, env_file: web.env, environment: {B: over}}}", {
        "services/web/container/environment": {"A": "1", "B": "over"}}),
    ("service", "label_file", "services: {web: {image: i, label_file: [web.env], labels: {B: over}}}", {
        "services/web/container/labels": {"A": "1", "B": "over"}}),
    ("service", "links", "services: {web: {image: i, links: ['db:database']}, db: {image: i}}", {
        "services/web/depends_on": {"db": {"condition": "started"}},
        "services/db/container/networking/attachments/app_default/aliases": ["db", "database"]}),
    ("service", "extends", "services: {base: {image: b, tty: true}, web: {extends: base, image: i}}", {
        "services/web/container/image": "i", "services/web/container/terminal": True}),
    ("service", "networks", "services: {web: {image: i, networks: {front: }}}\nnetworks: {front: }", {
        PLACE: {"aliases": ["web"]}}),
    ("service", "volumes_from",
        "services: {web: {image: i, volumes_from: ['db:ro']}, db: {image: i, volumes: ['/x:/y']}}",
        {"services/web/container/volumes": [{"host": "/x", "container": "/y", "mode": "ro"}]}),
    ("depends_on", "condition",
        "services: {web: {image: i, depends_on: {db: {condition: service_healthy}, do: {condition: "
        "service_completed_successfully}, s: {condition: service_started}}}, db: {image: i}, do: {image: i}, s: {image: i}}",
        {"services/web/depends_on": {"db": {"condition": "healthy"}, "do": {"condition": "completed"},
                                     "s": {"condition": "started"}}}),
    ("depends_on", "restart", "services: {web: {image: i, depends_on: {db: {restart: true}}}, db: {image: i}}", {
        "services/web/depends_on/db": {"condition": "started", "restart": True}}),
    ("depends_on", "required",
        "services: {web: {image: i, depends_on: {db: {required: false}, no: {required: false}}}, db: {image: i}}",
        {"services/web/depends_on": {"db": {"condition": "started", "required": False}}}),
    ("env_file", "path", "services: {web: {image: i, env_file: [{path: ./web.env}]}}", {
        "services/web/container/environment": {"A": "1", "B": "two"}}),
    ("env_file", "required", "services: {web: {image: i, env_file: [{path: ./absent.env, required: false}]}}", {
        "services/web/container/environment": None}),
    ("env_file", "format", "services: {web: {image: i, env_file: [{path: raw.env, format: raw}]}}", {
        "services/web/container/environment": {"A": '"$1"', "B": " x #y"}}),
    ("extends", "service", "services: {base: {image: b}, web: {extends: {service: base}}}", {
        "services/web/container/image": "b"}),
    ("extends", "file", "services: {web: {extends: {service: base, file: other/base.yaml}}}", {
        "services/web/container": {"image": "other", "volumes": [{"host": "HERE/other/x", "container": "/x"}],
            "networking": {"networks": ["app_default"], "attachments": {"app_default": {"aliases": ["web"]}}}}}),
    ("configs and secrets of a service", "source",
        "services: {web: {image: i, configs: [{source: c}]}}\nconfigs: {c: {content: hello}}",
        {"services/web/files/0/source": "c"}),
    ("configs and secrets of a service", "target",
        "services: {web: {image: i, configs: [{source: c, target: /a/b}], secrets: [{source: s, target: t}]}}\n"
        "configs: {c: {content: hello}}\nsecrets: {s: {file: hello.txt}}",
        {"services/web/files/0/target": "/a/b", "services/web/files/1/target": "/run/secrets/t"}),
    *(("configs and secrets of a service", key,
        f"services: {{web: {{image: i, configs: [{{source: c, {key}: {text}}}]}}}}\nconfigs: {{c: {{content: hello}}}}",
        {f"services/web/files/0/{key}": value})
      for key, text, value in [("uid", "'1000'", 1000), ("gid", "50", 50), ("mode", "0440", 0o440), ("mode", "'0600'", 0o600)]),
    *(("networks of a service", key,
        f"services: {{web: {{image: i, networks: {{front: {{{key}: {text}}}}}}}}}\nnetworks: {{front: }}", {PLACE: value})
      for key, text, value in [
          ("aliases", "[www, my_web]", {"aliases": ["web", "www", "my_web"]}),
          ("ipv4_address", "10.9.0.5", {"aliases": ["web"], "address": "10.9.0.5"}),
          ("ipv6_address", "fd00::5", {"aliases": ["web"], "address6": "fd00::5"}),
          ("mac_address", "02:42:ac:11:00:03", {"aliases": ["web"], "mac": "02:42:ac:11:00:03"}),
      ]),
    *(("networks of a service", key,
        f"services: {{web: {{image: i, networks: {{a: , b: {{{key}: 100}}}}}}}}\nnetworks: {{a: , b: }}",
        {"services/web/container/networking/networks": ["app_b", "app_a"]})
      for key in ("priority", "gw_priority")),
    *(("networks", key, f"services: {{web: {{image: i, networks: [front]}}}}\nnetworks: {{front: {{{key}: {text}}}}}",
        {"networks/front": value})
      for key, text, value in [
          ("name", "wide", {"name": "wide"}),
          ("attachable", "true", {"name": "app_front"}),
          ("driver", "macvlan", {"name": "app_front", "request": {"driver": "macvlan"}}),
          ("driver_opts", "{parent: eth0, com.docker.network.driver.mtu: 1400, com.docker.network.bridge.enable_icc: 'false'}",
           {"name": "app_front", "request": {"options": {"parent": "eth0", "mtu": "1400"}, "isolate": True}}),
          ("enable_ipv4", "true", {"name": "app_front"}),
          ("enable_ipv6", "true", {"name": "app_front", "request": {"ipv6": True}}),
          ("external", "true", {"name": "front", "external": True}),
          ("external", "{name: old}", {"name": "old", "external": True}),
          ("internal", "true", {"name": "app_front", "request": {"internal": True}}),
          ("ipam", "{}", {"name": "app_front"}),
          ("labels", "[a=b]", {"name": "app_front", "request": {"labels": {"a": "b"}}}),
      ]),
    ("networks, ipam", "driver",
        "services: {web: {image: i, networks: [front]}}\nnetworks: {front: {ipam: {driver: default}}}",
        {"networks/front": {"name": "app_front"}}),
    ("networks, ipam", "config",
        "services: {web: {image: i, networks: [front]}}\n"
        "networks: {front: {ipam: {config: [{subnet: 10.9.0.0/24}, {subnet: 'fd00::/64', gateway: 'fd00::1'}]}}}",
        {"networks/front/request": {"subnets": ["10.9.0.0/24", "fd00::/64"], "gateways": ["fd00::1"]}}),
    *(("networks, ipam, config", key,
        f"services: {{web: {{image: i, networks: [front]}}}}\nnetworks: {{front: {{ipam: {{config: [{{{key}: {text}}}]}}}}}}",
        {"networks/front/request": value})
      for key, text, value in [
          ("subnet", "10.9.0.0/24", {"subnets": ["10.9.0.0/24"]}),
          ("gateway", "10.9.0.1", {"gateways": ["10.9.0.1"]}),
          ("ip_range", "10.9.0.128/25", {"ip_range": "10.9.0.128/25"}),
      ]),
    *(("volumes", key, f"services: {{web: {{image: i, volumes: ['data:/d']}}}}\nvolumes: {{data: {{{key}: {text}}}}}",
        {"volumes/data": value})
      for key, text, value in [
          ("name", "shared", {"name": "shared"}),
          ("driver", "local", {"name": "app_data"}),
          ("external", "true", {"name": "data", "external": True}),
          ("labels", "{a: b}", {"name": "app_data", "labels": {"a": "b"}}),
      ]),
    ("volumes", "driver_opts",
        "services: {web: {image: i, volumes: ['data:/d', 'data:/e']}}\n"
        "volumes: {data: {driver_opts: {type: tmpfs, device: tmpfs, o: 'size=1m,uid=1000'}}}",
        {"volumes": None, "services/web/container/volumes": None,
         "services/web/container/tmpfs": [{"container": "/d", "size": 1 << 20}, {"container": "/e", "size": 1 << 20}]}),
    ("volumes", "driver_opts",
        "services: {web: {image: i, volumes: ['data:/d']}}\n"
        "volumes: {data: {driver_opts: {type: none, o: bind, device: ./x}}}",
        {"volumes": None, "services/web/container/volumes": [{"host": "HERE/x", "container": "/d"}]}),
    *(("configs", key, f"services: {{web: {{image: i, configs: [c]}}}}\nconfigs: {{c: {{{key}: {text}}}}}",
        {"files/c": {"content": ENCODED}})
      for key, text in [("content", "hello"), ("content", '"${GREETING}"'), ("environment", "GREETING"), ("file", "./hello.txt"),
                        ("name", "x, content: hello")]),
    *(("secrets", key, f"services: {{web: {{image: i, secrets: [s]}}}}\nsecrets: {{s: {{{key}: {text}}}}}",
        {"files/s": {"content": ENCODED, "secret": True}})
      for key, text in [("environment", "GREETING"), ("file", "./hello.txt"), ("name", "x, file: hello.txt")]),
]  # fmt: skip

BESIDE: list[tuple[str, str, str, str, Any]] = [
    # section, key, a whole file, an attribute of the project, its value
    ("compose", "name", "name: other\nservices: {web: {image: i}}", "name", "other"),
    ("compose", "include", "include: [other/base.yaml]\nservices: {web: {image: i}}", "disabled", {}),
    ("include", "path", "include: [{path: [other/base.yaml]}]", "places", {"base": "other/base.yaml:3"}),
    ("include", "project_directory", "include: [{path: other/base.yaml, project_directory: .}]", "directories", ["HERE/x"]),
    ("include", "env_file", "include: [{path: other/base.yaml, env_file: web.env}]", "directories", ["HERE/other/x"]),
    ("service", "attach", "services: {web: {image: i, attach: false}}", "unattached", ["web"]),
    ("service", "build", "services: {web: {build: .}}", "builds", {"web": {"context": "HERE", "image": "app-web"}}),
    ("service", "build", "services: {web: {build: ./a, image: i:2}}", "builds", {
        "web": {"context": "HERE/a", "image": "i:2"}}),
    ("service", "platform", "services: {web: {image: i, platform: linux/arm64}}", "platforms", {"web": "linux/arm64"}),
    ("service", "profiles", "services: {web: {image: i, profiles: [a, b]}}", "disabled", {"web": ["a", "b"]}),
    *(("service", "pull_policy", f"services: {{web: {{image: i, build: ., pull_policy: {policy}}}}}", "pull_policies",
       {"web": taken}) for policy, taken in [
        ("always", "always"), ("never", "never"), ("missing", "missing"), ("if_not_present", "missing"), ("build", "build"),
        ("daily", "missing"), ("every_12h", "missing")]),
    *(("build", key, f"services: {{web: {{build: {{context: ., {key}: {text}}}}}}}\nsecrets: {{s: {{file: hello.txt}}}}",
       "builds", {"web": {"context": "HERE", "image": "app-web", key: value}}) for key, text, value in [
        ("args", "{A: 1.10, GREETING: , ABSENT: }", {"A": "1.10", "GREETING": "hello"}),
        ("args", "[A=b]", {"A": "b"}),
        ("dockerfile", "web.Dockerfile", "web.Dockerfile"),
        ("dockerfile_inline", "FROM scratch", "FROM scratch"),
        ("labels", "[a=b]", {"a": "b"}),
        ("network", "none", "none"),
        ("no_cache", "true", True),
        ("platforms", "[linux/amd64]", ["linux/amd64"]),
        ("pull", "true", True),
        ("secrets", "[s]", [{"id": "s", "file": "HERE/hello.txt"}]),
        ("secrets", "[{source: s, target: key}]", [{"id": "key", "file": "HERE/hello.txt"}]),
        ("ssh", "[default]", ["default"]),
        ("ssh", "{me: /a.sock}", ["me=/a.sock"]),
        ("tags", "['a:1']", ["a:1"]),
        ("target", "last", "last"),
    ]),
    ("build", "context", "services: {web: {build: {context: ../a}}}", "builds", {
        "web": {"context": "ABOVE/a", "image": "app-web"}}),
    ("build", "context", "services: {web: {build: {target: last}}}", "builds", {
        "web": {"context": "HERE", "image": "app-web", "target": "last"}}),
    ("build", "context", "include: [other/built.yaml]\nservices: {web: {image: i}}", "builds", {
        "base": {"context": "HERE/other", "image": "app-base", "target": "last"}}),
]  # fmt: skip

FILES = {
    "hello.txt": "hello",
    "web.env": "A=1\nB=two\n",
    "raw.env": 'A="$1"\nB= x #y\n',
    "other/built.yaml": "services: {base: {build: {target: last}}}",
    "other/base.yaml": "\nservices:\n  base: {image: other, volumes: ['./x:/x']}\n",
}
ENVIRONMENT = {"HOME": "/home/me", "GREETING": "hello"}


def expected(value: Any, directory: Path) -> Any:
    """With the paths of this test's directory."""
    if isinstance(value, str):
        return value.replace("HERE", str(directory)).replace("ABOVE", str(directory.parent))
    if isinstance(value, dict):
        return {key: expected(item, directory) for key, item in value.items()}
    return [expected(item, directory) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize(("section", "key", "snippet", "found"), SERVICE)
def test_keys_of_services_become_fields_of_the_document(
    tmp_path: Path, section: str, key: str, snippet: str, found: dict[str, Any]
) -> None:
    if snippet.startswith("{"):
        snippet = textwrap.dedent(snippet[1:-1])
        snippet = snippet.replace(", ", "\n", 1) if snippet.count(": ") > 1 else snippet
    made = project(tmp_path, service_text(snippet), FILES, environment=ENVIRONMENT)
    for path, value in found.items():
        assert at(made.document["services"]["web"], path) == expected(value, tmp_path), path
    checked(made)


@pytest.mark.parametrize(("section", "key", "text", "found"), APP)
def test_keys_of_files_become_fields_of_the_document(
    tmp_path: Path, section: str, key: str, text: str, found: dict[str, Any]
) -> None:
    made = project(tmp_path, text, FILES, environment=ENVIRONMENT)
    for path, value in found.items():
        assert at(made.document, path) == expected(value, tmp_path), path
    checked(made)


@pytest.mark.parametrize(("section", "key", "text", "attribute", "value"), BESIDE)
def test_keys_that_concern_more_than_containers_stand_beside_the_document(
    tmp_path: Path, section: str, key: str, text: str, attribute: str, value: Any
) -> None:
    made = project(
        tmp_path, text, FILES, environment=ENVIRONMENT, project_name="" if key == "name" else "app"
    )
    assert getattr(made, attribute) == expected(value, tmp_path)
    checked(made)


def test_every_key_that_is_supported_has_a_case_here() -> None:
    cases = {case[:2] for case in (*SERVICE, *APP, *BESIDE)}
    supported = {
        (section, key)
        for section, keys in KEYS.items()
        for key, (state, _) in keys.items()
        if state in (YES, PARTLY)
    }
    assert supported - cases == set()


# --- keys that are not supported ------------------------------------------------------------------------------

WHERE = {
    "compose": "{}",
    "include": "include: [{{path: other/base.yaml, {}}}]",
    "service": "services: {{web: {{image: i, {}}}}}",
    "build": "services: {{web: {{build: {{context: ., {}}}}}}}",
    "networks": "services: {{web: {{image: i, networks: [n]}}}}\nnetworks: {{n: {{{}}}}}",
    "networks, ipam": "services: {{web: {{image: i, networks: [n]}}}}\nnetworks: {{n: {{ipam: {{{}}}}}}}",
    "networks, ipam, config": "services: {{web: {{image: i, networks: [n]}}}}\nnetworks: {{n: {{ipam: {{config: [{{{}}}]}}}}}}",
    "volumes": "services: {{web: {{image: i, volumes: ['v:/v']}}}}\nvolumes: {{v: {{{}}}}}",
    "configs": "services: {{web: {{image: i, configs: [c]}}}}\nconfigs: {{c: {{content: x, {}}}}}",
    "secrets": "services: {{web: {{image: i, secrets: [s]}}}}\nsecrets: {{s: {{file: hello.txt, {}}}}}",
    "post_start and pre_stop": "services: {{web: {{image: i, pre_stop: [{{command: a, {}}}]}}}}",
    "networks of a service": "services: {{web: {{image: i, networks: {{n: {{{}}}}}}}}}\nnetworks: {{n: }}",
    "volumes of a service": "services: {{web: {{image: i, volumes: [{{type: volume, target: /t, {}}}]}}}}",
    "volumes of a service, bind":
        "services: {{web: {{image: i, volumes: [{{type: bind, source: /s, target: /t, bind: {{{}}}}}]}}}}",
    "volumes of a service, volume": "services: {{web: {{image: i, volumes: [{{type: volume, target: /t, volume: {{{}}}}}]}}}}",
    "blkio_config": "services: {{web: {{image: i, blkio_config: {{{}}}}}}}",
    "deploy": "services: {{web: {{image: i, deploy: {{{}}}}}}}",
    "deploy.resources.reservations": "services: {{web: {{image: i, deploy: {{resources: {{reservations: {{{}}}}}}}}}}}",
    "deploy.restart_policy": "services: {{web: {{image: i, deploy: {{restart_policy: {{{}}}}}}}}}",
    "deploy.update_config": "services: {{web: {{image: i, deploy: {{update_config: {{{}}}}}}}}}",
}  # fmt: skip


def line_of(section: str) -> int:
    """Where the key stands in the text that ``WHERE`` has."""
    return WHERE[section].replace("{{", "").partition("{}")[0].count("\n") + 1


def keys_in(*states: str) -> list[tuple[str, str]]:
    return [
        (section, key)
        for section, keys in KEYS.items()
        for key, (state, _) in keys.items()
        if state in states
    ]


@pytest.mark.parametrize(("section", "key"), keys_in(REFUSED))
def test_what_would_behave_otherwise_is_refused_with_file_line_and_key(
    tmp_path: Path, section: str, key: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        project(tmp_path, WHERE[section].format(f"{key}: {{some: thing}}"), FILES)
    line = line_of(section)
    assert caught.value.cause.startswith(f"compose.yaml:{line}: ")
    assert f"{key}: {key} is not supported" in caught.value.cause
    assert caught.value.remedy == KEYS[section][key][1]


@pytest.mark.parametrize(("section", "key"), keys_in(IGNORED))
def test_what_costs_convenience_only_is_warned_of(tmp_path: Path, section: str, key: str) -> None:
    made = project(tmp_path, WHERE[section].format(f"{key}: {{some: thing}}"), FILES)
    line = line_of(section)
    (warning,) = made.warnings
    assert warning.startswith(f"compose.yaml:{line}: ")
    assert f"{key}: {key} is left out: {KEYS[section][key][1]}" in warning
    checked(made)


@pytest.mark.parametrize(("section", "key"), keys_in(REFUSED, IGNORED))
@pytest.mark.parametrize("nothing", ["null", "false", "[]", "{}", '""'])
def test_a_key_that_asks_for_nothing_is_no_matter(
    tmp_path: Path, section: str, key: str, nothing: str
) -> None:
    text = WHERE[section].format(f"{key}: {nothing}")
    made = project(tmp_path, text if section != "compose" else f"{text}\nservices: {{}}", FILES)
    assert made.warnings == []


@pytest.mark.parametrize("section", WHERE)
def test_an_unknown_key_is_an_error_that_offers_the_nearest(tmp_path: Path, section: str) -> None:
    known = list(KEYS[section])[0]
    with pytest.raises(InvalidInput, match=r"^compose\.yaml:[12]: .*there is no (such )?key") as caught:
        project(tmp_path, WHERE[section].format(f"{known}x: 1"), FILES)
    assert "did you mean" in caught.value.remedy


@pytest.mark.parametrize("section", WHERE)
def test_keys_that_begin_with_x_are_anyones(tmp_path: Path, section: str) -> None:
    extra = "x-mine: [1, {a: b}]"
    text = WHERE[section].format(extra)
    assert (
        project(tmp_path, text if section != "compose" else f"{text}\nservices: {{}}", FILES).warnings == []
    )


def test_bounds_are_those_of_the_container_document() -> None:
    assert limits.RLIMITS == container_document.RLIMITS
    assert limits.SMALLEST_MEMORY == resources_section.MEMORY_FLOOR
    assert capabilities.NAMES == container_document.CAPABILITIES
