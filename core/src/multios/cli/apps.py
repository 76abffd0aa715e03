"""``app …``: several containers from Compose files. What the commands do is imported when one runs."""

from __future__ import annotations

from multios.cli.container_options import PROCESS, PUBLISH, VOLUME
from multios.cli.grammar import FLAG, INTEGER, LIST, PAIRS, TEXT, Argument, Command, Option
from multios.cli.output import FORMAT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from multios.cli.context import Context
    from multios.cli.grammar import Handler, Values


def _by(module: str, function: str) -> Handler:
    """What a module does, which is imported when it is asked for."""

    def run(values: Values, context: Context) -> int | None:
        status: int | None = getattr(__import__(f"multios.cli.{module}", fromlist=[function]), function)(
            values, context
        )
        return status

    return run


def _where_it_is(module: str, function: str) -> Handler:
    """As :func:`_by`, unless an orchestrator in the client has the app: then as :mod:`multios.cli.app_elsewhere` does it."""
    run_here = _by(module, function)

    def run(values: Values, context: Context) -> int | None:
        from multios.cli.app_orchestrators import in_client  # deferred: who only asks for help needs none

        if (orchestrator := in_client(values)) is None:
            return run_here(values, context)
        from multios.cli import app_elsewhere

        return app_elsewhere.run(function, values, orchestrator)

    return run


_PROJECT = (
    Option(
        "--file", "files", LIST, "A Compose file; a later one is merged over it", "FILE", completes="files"
    ),
    Option("--project-name", "project_name", TEXT, "The app's name", "NAME"),
    Option(
        "--project-directory", "project_directory", TEXT, "What relative paths begin at", "DIRECTORY", completes="files"
    ),
    Option("--profile", "profiles", LIST, "Enable the services of this profile", "NAME"),
    Option("--env-file --project-env-file", "env_files", LIST, "Variables for the files, instead of .env", "FILE", completes="files"),
)  # fmt: skip
_EXEC_PROJECT = (
    *_PROJECT[:-1],
    Option(
        "--project-env-file",
        "env_files",
        LIST,
        "Variables for the files, instead of .env",
        "FILE",
        completes="files",
    ),
)
"""Where --env-file is the process's; before the command it is still the files'."""
_WHERE = (
    Option("--orchestrator", "orchestrator", TEXT, "What runs it: local, or an installed one", "NAME"),
    Option("--orchestrator-opt", "orchestrator_options", PAIRS, "A setting of the orchestrator", "KEY=VALUE"),
)
_SERVICES = Argument("services", "[SERVICE]", 0, 0)
_SERVICE = Argument("service", "SERVICE")
_TIMEOUT = Option(
    "--timeout -t", "timeout", INTEGER, "Seconds before a container is killed that does not end", "SECONDS"
)
_INDEX = Option("--index", "index", INTEGER, "Which of the service's containers", "N")
_SCALE = Option("--scale", "scale", PAIRS, "So many containers of a service", "SERVICE=N")
_NO_DEPENDENCIES = Option("--no-deps", "no_deps", FLAG, "Leave alone what it depends on")
_BUILDING = (
    Option("--build", "build", FLAG, "Build images first, though they are there"),
    Option("--no-build", "no_build", FLAG, "Build none"),
    Option("--pull", "pull", TEXT, "Which images to pull", "always|missing|never", ("always", "missing", "never")),
)  # fmt: skip
_RECREATING = (
    Option("--force-recreate", "force_recreate", FLAG, "Replace containers that are as they should be"),
    Option("--no-recreate", "no_recreate", FLAG, "Replace none"),
    Option("--remove-orphans", "remove_orphans", FLAG, "Remove containers of services that the files lack"),
    _SCALE,
    _TIMEOUT,
    Option("--rate", "rate", INTEGER, "At most so many things a second", "N"),
    Option("--dry-run", "dry_run", FLAG, "Only show what would be done"),
)
_FILES = "Files are compose.yaml, compose.yml or docker-compose.yml here or in a directory above, unless -f names others."

COMMANDS = {
    "app up": Command(
        _by("app_changes", "up"),
        (
            Option("--detach -d", "detach", FLAG, "Leave it running"),
            *_BUILDING,
            *_RECREATING,
            _NO_DEPENDENCIES,
            Option("--no-start", "no_start", FLAG, "Make containers and start none"),
            Option(
                "--abort-on-container-exit",
                "abort",
                FLAG,
                "Stop all when a container ends, and exit with its status",
            ),
            Option(
                "--exit-code-from",
                "exit_code_from",
                TEXT,
                "The same, and exit with this service's status",
                "SERVICE",
            ),
            Option("--wait", "wait", FLAG, "Until all run, and are healthy; implies --detach"),
            Option("--wait-timeout", "wait_timeout", INTEGER, "At most so long", "SECONDS"),
            *_PROJECT,
            *_WHERE,
        ),
        (_SERVICES,),
        f"{_FILES} What is as the files say is left alone. Without --detach the logs are shown until ctrl-c, which stops the app.",
        (
            "app up -d",
            "app -f compose.yaml -f production.yaml up -d --scale web=3",
            "app up --dry-run",
            "app up --exit-code-from tests",
        ),
    ),
    "app create": Command(
        _by("app_changes", "create"),
        (*_BUILDING, *_RECREATING, *_PROJECT, *_WHERE),
        (_SERVICES,),
        _FILES,
        ("app create",),
    ),
    "app down": Command(
        _by("app_changes", "down"),
        (
            Option("--volumes -v", "volumes", FLAG, "Its volumes too, with what is in them"),
            Option(
                "--rmi",
                "rmi",
                TEXT,
                "Its images too: those that were built for it and named by it, or all",
                "local|all",
                ("local", "all"),
            ),
            Option("--remove-orphans", "orphans", FLAG, "Accepted for docker's sake: they go anyway"),
            _TIMEOUT,
            *_PROJECT,
            *_WHERE,
        ),
        (),
        "Containers and networks go, also those that the files do not name any more. Nothing of the app is left.",
        ("app down", "app -p shop down --volumes", "app down --rmi local"),
    ),
    "app scale": Command(
        _by("app_changes", "scale"),
        (_NO_DEPENDENCIES, *_PROJECT, *_WHERE),
        (Argument("words", "SERVICE=N", 1, 0),),
        "",
        ("app scale web=5",),
    ),
    "app start": Command(
        _where_it_is("app_changes", "start"),
        (*_PROJECT, *_WHERE),
        (_SERVICES,),
        "What others depend on is first.",
        ("app start",),
    ),
    "app stop": Command(
        _where_it_is("app_changes", "stop"),
        (_TIMEOUT, *_PROJECT, *_WHERE),
        (_SERVICES,),
        "Dependents are first.",
        ("app stop web",),
    ),
    "app restart": Command(
        _where_it_is("app_changes", "restart"),
        (_TIMEOUT, *_PROJECT, *_WHERE),
        (_SERVICES,),
        "",
        ("app restart web",),
    ),
    "app kill": Command(
        _where_it_is("app_changes", "kill"),
        (Option("--signal -s", "signal", TEXT, "The signal (default KILL)", "SIGNAL"), *_PROJECT, *_WHERE),
        (_SERVICES,),
        "",
        ("app kill web", "app kill -s HUP web"),
    ),
    "app rm": Command(
        _where_it_is("app_changes", "remove"),
        (
            Option("--stop -s", "stop", FLAG, "Stop those that run first"),
            Option("--force -f", "force", FLAG, "Accepted for docker's sake: nobody is asked"),
            Option("--volumes -v", "volumes", FLAG, "Their unnamed volumes too"),
            _TIMEOUT,
            *_PROJECT,
            *_WHERE,
        ),
        (_SERVICES,),
        "Containers that run are left alone without --stop. Networks and volumes stay: see `app down`.",
        ("app rm", "app rm --stop web"),
    ),
    "app pause": Command(
        _where_it_is("app_changes", "pause"), (*_PROJECT, *_WHERE), (_SERVICES,), "", ("app pause web",)
    ),
    "app resume": Command(
        _where_it_is("app_changes", "resume"), (*_PROJECT, *_WHERE), (_SERVICES,), "", ("app resume web",)
    ),
    "app snapshot": Command(
        _by("app_changes", "snapshot"),
        (*_PROJECT, *_WHERE),
        (Argument("snapshot", "NAME"),),
        "The files of every container are kept under NAME, to be come back to. Volumes are not.",
        ("app snapshot before-i-try-it",),
    ),
    "app reset": Command(
        _by("app_changes", "reset"),
        (Option("--to", "to", TEXT, "A snapshot, instead of the beginning", "NAME"), *_PROJECT, *_WHERE),
        (),
        "Every container gets the files that it began with, and what ran runs again. Volumes stay as they are.",
        ("app reset", "app reset --to before-i-try-it"),
    ),
    "app pull": Command(_by("app_images", "pull"), _PROJECT, (_SERVICES,), _FILES, ("app pull",)),
    "app images": Command(
        _where_it_is("app_views", "images"),
        (Option("--quiet -q", "quiet", FLAG, "Ids only"), FORMAT, *_PROJECT, *_WHERE),
        (_SERVICES,),
        "The images that the app's containers are made from.",
        ("app images", "app images --format json web"),
    ),
    "app build": Command(
        _by("app_images", "build"),
        (
            Option("--no-cache", "no_cache", FLAG, "Make every step anew"),
            Option("--pull", "pull", FLAG, "Ask for newer base images"),
            *_PROJECT,
        ),
        (_SERVICES,),
        _FILES,
        ("app build", "app build --no-cache web"),
    ),
    "app ps": Command(
        _where_it_is("app_views", "ps"),
        (
            Option("--all -a", "all", FLAG, "Stopped ones too"),
            Option("--quiet -q", "quiet", FLAG, "Ids only"),
            Option("--services", "names", FLAG, "Names of services only"),
            FORMAT,
            *_PROJECT,
            *_WHERE,
        ),
        (_SERVICES,),
        "",
        ("app ps --all",),
    ),
    "app ls": Command(
        _by("app_views", "ls"),
        (
            Option("--all -a", "all", FLAG, "Those too of which nothing runs"),
            Option("--quiet -q", "quiet", FLAG, "Names only"),
            FORMAT,
        ),
        (),
        "",
        ("app ls",),
    ),
    "app logs": Command(
        _where_it_is("app_logs", "logs"),
        (
            Option("--follow -f", "follow", FLAG, "Go on until all have ended"),
            Option("--tail -n", "tail", INTEGER, "Only the last N lines of each", "N"),
            Option("--since", "since", TEXT, "Only what came after a time or a duration ago", "TIME"),
            Option("--until", "until", TEXT, "Only what came before a time or a duration ago", "TIME"),
            Option("--timestamps -t", "timestamps", FLAG, "Show when each line was written"),
            Option("--no-log-prefix", "no_log_prefix", FLAG, "Do not say whose a line is"),
            *_PROJECT,
            *_WHERE,
        ),
        (_SERVICES,),
        "",
        ("app logs --tail 20", "app logs -f web"),
    ),
    "app top": Command(
        _where_it_is("app_views", "top"), (*_PROJECT, *_WHERE), (_SERVICES,), "", ("app top",)
    ),
    "app port": Command(
        _where_it_is("app_views", "port"),
        (
            _INDEX,
            Option("--protocol", "protocol", TEXT, "tcp or udp", "NAME", ("tcp", "udp", "sctp")),
            *_PROJECT,
            *_WHERE,
        ),
        (_SERVICE, Argument("port", "PORT[/PROTOCOL]")),
        "",
        ("app port web 80",),
    ),
    "app port-forward": Command(
        _where_it_is("app_forwarding", "port_forward"),
        (_INDEX, *_PROJECT, *_WHERE),
        (_SERVICE, Argument("port", "[HOST:]PORT")),
        "A port of 127.0.0.1, any if none is named, leads to the service until ctrl-c.",
        ("app port-forward web 8080:80",),
    ),
    "app events": Command(
        _where_it_is("app_views", "events"),
        (
            Option("--json", "json", FLAG, "A JSON object a line"),
            Option(
                "--since", "since", TEXT, "Begin with what happened since a time or a duration ago", "TIME"
            ),
            Option(
                "--until",
                "until",
                TEXT,
                "Only what happened until a time or a duration ago; then end",
                "TIME",
            ),
            Option(
                "--no-follow --no-stream", "no_follow", FLAG, "Show what there is, and do not wait for more"
            ),
            FORMAT,
            *_PROJECT,
            *_WHERE,
        ),
        (),
        "",
        ("app events --json", "app events --since 10m --no-follow"),
    ),
    "app config": Command(
        _by("app_views", "config"),
        (
            Option("--format", "format", TEXT, "yaml or json", "FORMAT", ("yaml", "json")),
            Option("--services", "services_only", FLAG, "Names of services only"),
            Option("--images", "images_only", FLAG, "Names of images only"),
            Option("--volumes", "volumes_only", FLAG, "Names of volumes only"),
            Option("--quiet -q", "quiet", FLAG, "Only say what is wrong"),
            *_PROJECT,
        ),
        (),
        _FILES,
        ("app config", "app config --services"),
    ),
    "app validate": Command(
        _by("app_views", "validate"), _PROJECT, (), _FILES, ("app validate", "app -f compose.yaml validate")
    ),
    "app exec": Command(
        _where_it_is("app_inside", "execute"),
        (
            Option("--interactive -i", "interactive", FLAG, "Give it stdin"),
            Option("--tty -t", "tty", FLAG, "Give it a terminal"),
            Option("--no-tty -T", "no_tty", FLAG, "Give it none"),
            Option("--detach -d", "detach", FLAG, "Run it in the background"),
            Option("--privileged", "privileged", FLAG, "With all capabilities (administrators only)"),
            _INDEX,
            *PROCESS,
            *_EXEC_PROJECT,
            *_WHERE,
        ),
        (_SERVICE, Argument("command", "COMMAND", 1, 0)),
        "",
        ("app exec web sh", "app exec --index 2 -T web env"),
        interspersed=False,
    ),
    "app run": Command(
        _where_it_is("app_inside", "run"),
        (
            Option("--rm", "rm", FLAG, "Remove it when it ends"),
            Option("--detach -d", "detach", FLAG, "Leave it running"),
            Option("--no-tty -T", "no_tty", FLAG, "Give it no terminal"),
            Option("--name", "name", TEXT, "Its name", "NAME"),
            Option("--entrypoint", "entrypoint", TEXT, "Instead of the service's", "COMMAND"),
            Option("--service-ports -P", "service_ports", FLAG, "Publish the service's ports"),
            PUBLISH,
            VOLUME,
            _NO_DEPENDENCIES,
            *_BUILDING,
            *PROCESS,
            *_EXEC_PROJECT,
            *_WHERE,
        ),
        (_SERVICE, Argument("command", "[COMMAND]", 0, 0)),
        "A container of its own is made, as the service's are. What the service depends on is brought up first.",
        (
            "app run --rm web sh",
            "app run --rm -e DEBUG=1 -p 8000:8000 -v ./src:/src web python3 manage.py runserver",
        ),
        interspersed=False,
    ),
    "app cp": Command(
        _where_it_is("app_inside", "copy"),
        (_INDEX, *_PROJECT, *_WHERE),
        (Argument("source", "SOURCE", completes="paths"), Argument("target", "TARGET", completes="paths")),
        "One side is SERVICE:PATH, the other a path on this host or - for a tar stream.",
        ("app cp ./page.html web:/srv/", "app cp web:/var/log/nginx ."),
    ),
    "app collect": Command(
        _where_it_is("app_inside", "collect"),
        (
            Option("--to", "to", TEXT, "The directory to copy into", "DIRECTORY", completes="files"),
            *_PROJECT,
            *_WHERE,
        ),
        (Argument("path", "PATH"), _SERVICES),
        "What is at PATH in each container is copied to DIRECTORY/CONTAINER; without --to, the directory is this one.",
        ("app collect /home --to handed-in", "app collect /var/log web"),
    ),
}
