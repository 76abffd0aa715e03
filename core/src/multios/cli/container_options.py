"""The options of ``create`` and ``run``. A key with a dot, or of a whole field, is that field of the container document."""

from __future__ import annotations

from multios.cli.grammar import CORES, FLAG, INTEGER, LIST, PAIRS, TEXT, Option

RESOURCES = (
    Option("--cpu-limit --cpus", "resources.cpu_limit", CORES, "Cores, or a percentage of one core", "CORES"),
    Option(
        "--cpu-shares -c", "resources.cpu_shares", INTEGER, "CPU priority against others (default 1024)", "N"
    ),
    Option(
        "--cpuset --cpuset-cpus", "resources.cpuset", TEXT, "Only these processors, as 0-3 or 0,2", "LIST"
    ),
    Option("--memory-limit --memory -m", "resources.memory_limit", TEXT, "Memory, as 512M or 1G", "SIZE"),
    Option(
        "--memory-swap", "resources.memory_swap", TEXT, "Memory and swap together; -1 is no limit", "SIZE"
    ),
    Option("--pids-limit", "resources.pids_limit", INTEGER, "At most so many processes", "N"),
    Option(
        "--disk-limit", "resources.disk_limit", TEXT, "Disk space of the root file system, as 10G", "SIZE"
    ),
    Option("--io-limit", "resources.io_limit", INTEGER, "Disk operations a second, each way", "N"),
    Option("--io-bps", "resources.io_bytes_limit", TEXT, "Bytes to and from disk a second, each way", "SIZE"),
    Option(
        "--hugepages",
        "resources.hugepages",
        PAIRS,
        "Memory in huge pages of a size, as 2M=64M; can be repeated",
        "PAGE=SIZE",
    ),
)

RESTART = Option(
    "--restart",
    "restart_policy",
    TEXT,
    "Restart it when it exits: no, on-failure[:N], always or unless-stopped",
    "POLICY",
)

PROCESS = (
    Option(
        "--env -e",
        "environment",
        LIST,
        "An environment variable; without a value, the caller's",
        "KEY[=VALUE]",
    ),
    Option("--env-file", "env_file", LIST, "Environment variables from a file", "FILE", completes="files"),
    Option("--user -u", "user", TEXT, "Run as this user", "USER[:GROUP]"),
    Option("--workdir -w", "working_directory", TEXT, "The working directory", "DIRECTORY"),
)

HEALTH = (
    Option(
        "--health-cmd",
        "health_cmd",
        TEXT,
        "Ask whether it works with this shell line, or JSON list of words; none: do not ask",
        "COMMAND",
    ),
    Option(
        "--health-interval", "healthcheck.interval", TEXT, "Time between probes (default 30s)", "DURATION"
    ),
    Option(
        "--health-timeout", "healthcheck.timeout", TEXT, "How long a probe may take (default 30s)", "DURATION"
    ),
    Option(
        "--health-retries",
        "healthcheck.retries",
        INTEGER,
        "So many failures in a row make it unhealthy (default 3)",
        "N",
    ),
    Option(
        "--health-start-period",
        "healthcheck.start_period",
        TEXT,
        "For so long failures do not count (default 0s)",
        "DURATION",
    ),
    Option(
        "--health-start-interval",
        "healthcheck.start_interval",
        TEXT,
        "Time between probes in the start period (default 5s)",
        "DURATION",
    ),
    Option(
        "--no-healthcheck", "no_healthcheck", FLAG, "Do not ask whether it works, whatever the image says"
    ),
)

PUBLISH = Option(
    "--publish --port -p", "ports", LIST, "Publish a port", "[[ADDRESS:]HOST:]CONTAINER[/PROTOCOL]"
)
VOLUME = Option(
    "--volume -v", "volumes", LIST, "Mount a host path or a volume", "SOURCE:CONTAINER[:ro,nocopy]"
)
CONTAINER = (
    Option("--name", "name", TEXT, "The container's name", "NAME"),
    Option("--template", "template", TEXT, "Make it from this template", "TEMPLATE", completes="templates"),
    Option("--template-option", "template_options", PAIRS, "An option of the template", "KEY=VALUE"),
    Option("--image", "image", TEXT, "Make it from this image", "IMAGE", completes="images"),
    Option(
        "--config", "config", TEXT, "Take what is not given here from a JSON file", "FILE", completes="files"
    ),
    *RESOURCES,
    RESTART,
    *HEALTH,
    *PROCESS,
    PUBLISH,
    VOLUME,
    Option(
        "--device",
        "devices",
        LIST,
        "A device of the host's (administrators only)",
        "HOST[:CONTAINER][:rwm]",
        completes="files",
    ),
    Option("--tmpfs", "tmpfs", LIST, "Mount a file system in memory", "CONTAINER[:size=SIZE]"),
    Option("--shm-size", "shm_size", TEXT, "Size of /dev/shm (default 64M)", "SIZE"),
    Option(
        "--sysctl",
        "sysctls",
        PAIRS,
        "A kernel parameter of the container's own; can be repeated",
        "NAME=VALUE",
    ),
    Option(
        "--network --net",
        "networks",
        LIST,
        "Attach to this network; options are ip, ip6, mac and alias; container:NAME is the network of that one",
        "NETWORK[:OPTION=VALUE,…]",
        completes="networks",
    ),
    Option("--network-alias", "networking.aliases", LIST, "Another name on its networks", "NAME"),
    Option("--ip", "networking.address", TEXT, "Its address on the first network", "ADDRESS"),
    Option("--ip6", "networking.address6", TEXT, "Its IPv6 address on the first network", "ADDRESS"),
    Option("--mac-address", "networking.mac", TEXT, "Its MAC on the first network", "MAC"),
    Option(
        "--egress-allow",
        "networking.egress_allow",
        LIST,
        "Let it reach nothing outside but this; can be repeated",
        "ADDRESS|CIDR|DOMAIN",
    ),
    Option(
        "--bandwidth",
        "bandwidth",
        TEXT,
        "Limit what it receives and sends a second: 10mbit, or in=10mbit,out=2mbit",
        "RATE",
    ),
    Option("--dns", "networking.dns", LIST, "A name server", "ADDRESS"),
    Option("--dns-search", "networking.dns_search", LIST, "A domain to search", "DOMAIN"),
    Option(
        "--add-host",
        "add_host",
        LIST,
        "A line of /etc/hosts; host-gateway is the host's address",
        "NAME:ADDRESS",
    ),
    Option("--hostname -h", "hostname", TEXT, "The host name inside", "NAME"),
    Option("--entrypoint", "entrypoint", TEXT, "Replace the image's entry point", "COMMAND"),
    Option("--group-add", "groups", LIST, "A further group of the process", "GROUP"),
    Option("--label -l", "labels", LIST, "A label", "KEY[=VALUE]"),
    Option("--init", "init", FLAG, "Run an init that reaps processes"),
    Option("--interactive -i", "open_stdin", FLAG, "Keep stdin open"),
    Option("--tty -t", "terminal", FLAG, "Give it a terminal"),
    Option("--rm", "auto_remove", FLAG, "Delete it when it exits"),
    Option("--read-only", "security.read_only", FLAG, "Make the root file system read-only"),
    Option(
        "--read-only-tmpfs",
        "read_only_tmpfs",
        TEXT,
        "Whether /tmp, /run and /var/tmp of a read-only root are in memory (default true)",
        "true|false",
        ("true", "false"),
    ),
    Option(
        "--security-profile", "security.profile", TEXT, "A bundle of confinement: lab, strict, exam …", "NAME"
    ),
    Option("--privileged", "security.privileged", FLAG, "Take confinement away (administrators only)"),
    Option("--cap-add", "security.capabilities", LIST, "Grant a capability", "NAME"),
    Option("--cap-drop", "security.drop_capabilities", LIST, "Take a capability away", "NAME"),
    Option(
        "--security-opt",
        "security_opt",
        LIST,
        "DRIVER=PROFILE for a security driver, no-new-privileges[=BOOLEAN] or explain[=BOOLEAN|all]",
        "KEY[=VALUE]",
    ),
    Option(
        "--userns", "security.user_namespace", TEXT, "Its user namespace", "auto[:size=N]|host|map=0:HOST:N"
    ),
    Option("--ulimit", "ulimit", LIST, "A resource limit", "NAME=SOFT[:HARD]"),
    Option("--stop-signal", "stop_signal", TEXT, "The signal that stops it", "SIGNAL"),
    Option("--stop-timeout", "stop_timeout", INTEGER, "Seconds to wait before it is killed", "SECONDS"),
    Option("--log-opt", "log_opt", PAIRS, "max-size=SIZE or max-files=N", "KEY=VALUE"),
    Option("--isolation", "drivers.isolation", TEXT, "The isolation driver", "DRIVER"),
    Option("--storage", "drivers.storage", TEXT, "The storage driver", "DRIVER"),
    Option("--network-driver", "drivers.network", TEXT, "The driver that its networks must have", "DRIVER"),
    Option("--security", "drivers.security", TEXT, "The chain of security drivers, or none", "DRIVER,…"),
    Option(
        "--isolation-opt", "driver_options.isolation", PAIRS, "An option of the isolation driver", "KEY=VALUE"
    ),
    Option("--storage-opt", "driver_options.storage", PAIRS, "An option of the storage driver", "KEY=VALUE"),
    Option(
        "--network-opt",
        "driver_options.network",
        PAIRS,
        "Refused: options are given to `network create`",
        "KEY=VALUE",
    ),
)

DETACH = Option("--detach -d", "detach", FLAG, "Run it in the background and print its id")
