"""Compose files in the form in which they are found, in data/compose, and what becomes of them."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from compose_box import at, checked

from multios.compose.project import Project, Request, read
from multios.errors import InvalidInput

DATA = Path(__file__).parent / "data/compose"


def made(name: str, **asked: Any) -> Project:
    project = read(Request(**{"environment": {}, "directory": str(DATA / name), **asked}))
    checked(project)
    return project


def test_wordpress_and_its_database() -> None:
    project = made("wordpress")
    assert project.warnings == [] and project.name == "wordpress"
    services = project.document["services"]
    assert services["wordpress"]["depends_on"] == {"db": {"condition": "started"}}
    assert services["wordpress"]["container"]["networking"]["ports"] == [{"container": 80, "host": 80}]
    assert services["db"]["container"]["command"] == ["--default-authentication-plugin=mysql_native_password"]
    assert services["db"]["container"]["environment"]["MYSQL_PASSWORD"] == "wordpress"
    assert services["db"]["container"]["volumes"] == [
        {"volume": "wordpress_db_data", "container": "/var/lib/mysql"}
    ]
    assert project.document["volumes"] == {"db_data": {"name": "wordpress_db_data"}}
    assert project.document["networks"] == {"default": {"name": "wordpress_default"}}


def test_flask_with_redis_and_a_build() -> None:
    project = made("flask")
    assert project.warnings == [
        "docker-compose.yml:25: services.web.develop: develop is left out: files are not watched"
    ]
    here = str(DATA / "flask")
    assert project.builds == {
        "web": {
            "context": here,
            "image": "flask-web",
            "target": "builder",
            "args": {"PYTHON_VERSION": "3.11"},
        }
    }
    web, redis = (project.document["services"][name] for name in ("web", "redis"))
    assert web["depends_on"] == {"redis": {"condition": "healthy", "restart": True}}
    assert web["container"]["image"] == "flask-web" and web["container"]["stop_signal"] == "SIGINT"
    assert web["container"]["volumes"] == [
        {"host": here, "container": "/code"}, {"volume": "flask_web_code--venv", "container": "/code/.venv"},
    ]  # fmt: skip
    assert web["container"]["environment"] == {
        "FLASK_APP": "app.py", "FLASK_RUN_HOST": "0.0.0.0", "REDIS_URL": "redis://redis:6379/0",
    }  # fmt: skip
    assert redis["container"]["command"] == ["redis-server", "--save", "60", "1", "--loglevel", "warning"]
    assert redis["container"]["healthcheck"] == {
        "test": ["CMD", "redis-cli", "ping"], "interval": 5, "timeout": 3, "retries": 5, "start_period": 10,
    }  # fmt: skip


def test_nginx_before_two_back_ends() -> None:
    project = made("nginx", environment={"VERSION": "2", "API_TOKEN": "abc"})
    assert project.name == "balanced"
    assert project.warnings == [
        f"compose.yml:49: services.{name}.deploy.resources.reservations.memory: memory is left out: nothing is kept free"
        for name in ("blue", "green")
    ]
    proxy, blue, green = (project.document["services"][name] for name in ("proxy", "blue", "green"))
    assert proxy["container"]["networking"]["networks"] == ["balanced_front", "balanced_back"]
    assert proxy["container"]["security"] == {
        "capabilities": ["CHOWN", "SETGID", "SETUID", "NET_BIND_SERVICE"], "drop_capabilities": ["ALL"],
        "read_only": True, "read_only_tmpfs": False, "no_new_privileges": True,
    }  # fmt: skip
    assert proxy["files"] == [
        {"source": "proxy.conf", "target": "/etc/nginx/conf.d/default.conf", "mode": 0o444}
    ]
    content = base64.b64decode(project.document["files"]["proxy.conf"]["content"]).decode()
    assert "proxy_set_header Host $host;" in content
    assert project.document["files"]["token"] == {
        "content": base64.b64encode(b"abc").decode(),
        "secret": True,
    }
    assert green["container"]["environment"] == {"COLOUR": "green", "TOKEN_FILE": "/run/secrets/token"}
    assert blue["container"]["image"] == green["container"]["image"] == "registry.example.org/demo/backend:2"
    assert green["replicas"] == 2 and green["container"]["resources"] == {
        "cpu_limit": 0.5,
        "memory_limit": 128 << 20,
    }
    assert green["update"] == {
        "parallelism": 1,
        "delay": 5,
        "order": "start-first",
        "failure_action": "rollback",
    }
    assert at(green, "container/networking/attachments/balanced_back/aliases") == ["green", "backend"]
    assert project.document["networks"]["back"] == {
        "name": "balanced_back",
        "request": {"internal": True, "subnets": ["10.77.0.0/24"], "gateways": ["10.77.0.1"]},
    }


def test_a_required_variable_that_is_missing_says_what_to_do() -> None:
    with pytest.raises(InvalidInput) as caught:
        made("nginx", environment={"API_TOKEN": "abc"})
    assert (
        caught.value.cause == "compose.yml:28: services.blue.image: variable VERSION is required: set VERSION"
    )


def test_profiles_anchors_fragments_and_an_override() -> None:
    project = made("profiles", environment={"PORT": "4000"})
    assert project.warnings == []
    assert set(project.document["services"]) == {"app", "worker", "postgres_db"}
    assert project.disabled == {"migrate": ["tools"], "adminer": ["debug", "tools"]}
    app, worker, database = (project.document["services"][name] for name in ("app", "worker", "postgres_db"))
    assert app["container"]["networking"]["ports"] == [{"container": 3000, "host": 3000}]
    assert app["container"]["environment"] == {
        "TZ": "Europe/Berlin", "LOG_LEVEL": "info", "FEATURES": "a,b", "DEBUG": "1",
    }  # fmt: skip
    assert app["container"]["labels"]["traefik.http.routers.app.rule"] == "Host(`app.localhost`)"
    assert app["container"]["rlimits"] == {"nofile": [1024, 2048]}
    assert project.builds["app"]["image"] == "ghcr.io/example/app:latest"
    assert (
        "replicas" not in worker and "log" not in worker["container"] and worker["container"]["init"] is True
    )
    assert at(database, "container/networking/attachments/profiles_default/aliases") == ["postgres_db"]
    assert database["container"]["shm_size"] == 128 << 20
    assert database["container"]["stop_timeout"] == 60
    here = DATA / "profiles"
    assert project.directories == [str(here / "src"), str(here / "init.d")]
    assert project.document["volumes"]["pg"] == {"name": "profiles_pg", "labels": {"backup": "nightly"}}


def test_the_base_file_alone_is_without_its_override() -> None:
    project = made("profiles", files=["compose.yaml"], profiles=["tools"], environment={"PORT": "4000"})
    app = project.document["services"]["app"]["container"]
    assert app["networking"]["ports"] == [{"container": 3000, "host": 4000, "address": "127.0.0.1"}]
    assert project.document["services"]["worker"]["replicas"] == 3
    assert project.document["services"]["migrate"]["depends_on"] == {"postgres_db": {"condition": "healthy"}}
    assert project.document["services"]["adminer"]["container"]["networking"]["networks"] == ["default"]
    assert project.builds == {}


def test_the_merged_model_is_plain_data_with_what_was_put_in() -> None:
    config = made("profiles", environment={"PORT": "4000"}).config
    assert config["name"] == "profiles" and set(config["services"]) == {"app", "worker", "postgres_db"}
    assert config["services"]["app"]["build"] == str(DATA / "profiles")
    assert config["services"]["app"]["image"] == "ghcr.io/example/app:latest"
    assert type(config["services"]["worker"]["environment"]) is dict
    assert config["secrets"] == {"pg": {"file": str(DATA / "profiles/pg.txt")}}
