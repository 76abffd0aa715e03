"""Every built-in command: where it is declared, and its line in ``--help``, so that help imports none of them."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from multios.cli.grammar import Command

GROUPS = {
    "app": "Several containers as one, from Compose files",
    "image": "Manage images",
    "builder": "Manage the build cache",
    "healthcheck": "Ask containers whether they work",
    "template": "See, write, test and build educational templates",
    "network": "Manage networks",
    "volume": "Manage volumes",
    "plugin": "See, check and write plugins",
}

COMMANDS = {
    "attach": ("execution", "Attach to a running container"),
    "audit": ("accounts", "Show who did what"),
    "build": ("build", "Build an image from a Dockerfile"),
    "completion": ("completion", "Print a completion script for a shell"),
    "commit": ("changes", "Make an image of a container"),
    "cp": ("files", "Copy files between a container and the host"),
    "create": ("creation", "Create a container"),
    "delete": ("lifecycle", "Delete containers"),
    "doctor": ("system", "Check whether this host is fit, and say what to do"),
    "diff": ("changes", "Show what a container changed"),
    "events": ("events", "Watch what happens"),
    "exec": ("execution", "Run a command in a running container"),
    "explain": ("explain", "Show what a container is made of, and where one can see it"),
    "export": ("files", "Write a container's file system as a tar archive"),
    "features": ("system", "Show what this host and the drivers can do"),
    "history": ("images", "Show how an image was made"),
    "images": ("images", "List images"),
    "import": ("image_archives", "Make an image from a root filesystem, or read an archive of images"),
    "info": ("system", "Show the engine's settings and counts"),
    "inspect": ("listing", "Show everything about containers"),
    "kill": ("lifecycle", "Send a signal to containers"),
    "load": ("image_archives", "Read images from an archive"),
    "login": ("registry", "Log in to a registry"),
    "logout": ("registry", "Log out of a registry"),
    "logs": ("logs", "Show what a container has written"),
    "pause": ("lifecycle", "Freeze containers"),
    "port": ("ports", "Show which of the host's ports lead to a container"),
    "port-forward": ("ports", "Publish ports of a container, running or not"),
    "prune": ("lifecycle", "Delete all stopped containers"),
    "ps": ("listing", "List containers"),
    "quota": ("accounts", "Show quotas and what they are used for"),
    "rename": ("lifecycle", "Give a container another name"),
    "reset": ("resets", "Put a container back to its beginning, or to a snapshot"),
    "restart": ("lifecycle", "Stop and start containers"),
    "resume": ("lifecycle", "Let frozen containers go on"),
    "rmi": ("images", "Remove images"),
    "run": ("creation", "Create a container and run it"),
    "save": ("image_archives", "Write images to an archive"),
    "shell": ("execution", "Open a shell in a running container"),
    "snapshot": ("resets", "Keep the state of a container's files, and see what is kept"),
    "start": ("lifecycle", "Start containers"),
    "stats": ("usage", "Show what containers use"),
    "stop": ("lifecycle", "Stop containers"),
    "tag": ("images", "Give an image another name"),
    "top": ("listing", "Show the processes of a container"),
    "update": ("lifecycle", "Change a container's limits"),
    "validate": ("creation", "Check a JSON configuration, or how well a driver isolates"),
    "version": ("system", "Show the versions of client and daemon"),
    "wait": (
        "lifecycle",
        "Wait for containers to exit, or for another condition, and print their exit codes",
    ),
    "why": ("why", "Say what was refused inside a container, and what would allow it"),
    "app build": ("apps", "Build the images of an app"),
    "app collect": ("apps", "Copy a path of every container of an app"),
    "app config": ("apps", "Print Compose files as they are understood"),
    "app cp": ("apps", "Copy files between a service's container and the host"),
    "app create": ("apps", "Make an app's containers and start none"),
    "app down": ("apps", "Remove an app"),
    "app events": ("apps", "Watch what happens to an app"),
    "app exec": ("apps", "Run a command in a service's container"),
    "app images": ("apps", "List the images of an app"),
    "app kill": ("apps", "Send a signal to an app's containers"),
    "app logs": ("apps", "Show what an app's containers have written"),
    "app ls": ("apps", "List apps"),
    "app pause": ("apps", "Freeze an app's containers"),
    "app port": ("apps", "Show which of the host's ports leads to a service"),
    "app port-forward": ("apps", "Lead a port of this host to a service for a while"),
    "app ps": ("apps", "List an app's containers"),
    "app pull": ("apps", "Fetch the images of an app"),
    "app reset": ("apps", "Put an app back to its beginning, or to a snapshot"),
    "app snapshot": ("apps", "Keep the state of an app's files"),
    "app restart": ("apps", "Stop and start an app's containers"),
    "app resume": ("apps", "Let an app's frozen containers go on"),
    "app rm": ("apps", "Remove an app's stopped containers"),
    "app run": ("apps", "Run a command in a container made as a service's are"),
    "app scale": ("apps", "Change how many containers a service has"),
    "app start": ("apps", "Start an app's containers"),
    "app stop": ("apps", "Stop an app's containers"),
    "app top": ("apps", "Show the processes of an app"),
    "app up": ("apps", "Make an app what its files say"),
    "app validate": ("apps", "Check Compose files"),
    "builder prune": ("build", "Empty the build cache"),
    "healthcheck run": ("lifecycle", "Probe a container now; exit status 0: healthy, 1: not"),
    "image build": ("build", "Build an image from a Dockerfile"),
    "image commit": ("changes", "Make an image of a container"),
    "image diff": ("changes", "Show what an image's last step changed"),
    "image export": ("image_archives", "Write images to an OCI archive"),
    "image history": ("images", "Show how an image was made"),
    "image import": ("image_archives", "Make an image from a root filesystem, or read an archive of images"),
    "image inspect": ("images", "Show everything about images"),
    "image list": ("images", "List images"),
    "image load": ("image_archives", "Read images from an archive"),
    "image prune": ("images", "Remove images that nothing uses"),
    "image pull": ("registry", "Fetch an image"),
    "image push": ("registry", "Store an image at a registry"),
    "image rm": ("images", "Remove images"),
    "image save": ("image_archives", "Write images to an archive"),
    "image tag": ("images", "Give an image another name"),
    "network connect": ("networks", "Put a container on one more network"),
    "network create": ("networks", "Create a network"),
    "network disconnect": ("networks", "Take a container off a network"),
    "network inspect": ("networks", "Show everything about networks"),
    "network list": ("networks", "List networks"),
    "network prune": ("networks", "Remove all networks that no container uses"),
    "network repair": ("networks", "Put back what other programs took from networks"),
    "network rm": ("networks", "Remove networks"),
    "plugin doctor": ("plugins", "Check the installed plugins"),
    "plugin list": ("plugins", "List the installed plugins"),
    "plugin new": ("plugins", "Write the beginnings of a plugin"),
    "plugin show": ("plugins", "Show a plugin, its settings and its health"),
    "plugin test": ("plugins", "Run the conformance kit against a plugin"),
    "template build": ("templates", "Build a template's image"),
    "template create": ("templates", "Write the folder of a new template"),
    "template import": (
        "templates",
        "Make a folder, an archive, a registry's or an index's template yours",
    ),
    "template index": ("templates", "List the templates of a directory for others to import by name"),
    "template inspect": ("templates", "Show a template's plan, options and checks"),
    "template list": ("templates", "List the templates"),
    "template lock": ("templates", "Write down exactly what a template is built of"),
    "template package": ("templates", "Write a template's folder as an archive"),
    "template publish": ("templates", "Store a template at a registry"),
    "template rm": ("templates", "Remove imported templates"),
    "template search": ("templates", "List what indexes of templates have"),
    "template show": ("templates", "Show a template's lesson"),
    "template test": ("templates", "Run a template's checks in a container of it"),
    "template validate": ("templates", "Check a template's folder or archive"),
    "volume create": ("volumes", "Create a volume"),
    "volume inspect": ("volumes", "Show everything about volumes"),
    "volume list": ("volumes", "List volumes"),
    "volume prune": ("volumes", "Remove all volumes that no container uses"),
    "volume rm": ("volumes", "Remove volumes"),
}

ALIASES = {
    "rm": "delete",
    "unpause": "resume",
    "app unpause": "app resume",
    "image ls": "image list",
    "network ls": "network list",
    "plugin ls": "plugin list",
    "template ls": "template list",
    "volume ls": "volume list",
}


LEADING = {
    "app": {
        "-f": "--file",
        "-p": "--project-name",
        "--env-file": "--project-env-file",
        **{
            name: name
            for name in (
                "--file", "--project-name", "--project-directory", "--profile", "--orchestrator",
                "--orchestrator-opt",
            )
        },
    }
}  # fmt: skip
"""Of a group: options that may stand before its command, with what they are called behind it. Each takes a value."""


def in_order(words: list[str]) -> list[str]:
    """``app up --file F`` for ``app -f F up``: what stands before a group's command is its own."""
    names = LEADING.get(words[0], {}) if words else {}
    position, moved = 1, []
    while position < len(words) and words[position][:1] == "-":
        name, separator, value = words[position].partition("=")
        if name not in names or (not separator and position + 1 >= len(words)):
            return words
        moved += [names[name], value if separator else words[position + 1]]
        position += 1 if separator else 2
    if not moved or position >= len(words):
        return words
    return [words[0], words[position], *moved, *words[position + 1 :]]


def resolve(words: list[str]) -> tuple[str, list[str]] | None:
    """The full name of the command that ``words`` begin with, and the words after it; ``None`` if there is none."""
    words = in_order(words)
    if not words:
        return None
    count = 2 if words[0] in GROUPS else 1
    name = " ".join(words[:count])
    name = ALIASES.get(name, name)
    return (name, words[count:]) if name in COMMANDS else None


def load(name: str) -> Command:
    """The declaration of a command by its full name."""
    module = __import__(f"multios.cli.{COMMANDS[name][0]}", fromlist=["COMMANDS"])
    command: Command = module.COMMANDS[name]
    return command
