"""What the script does in the new namespaces: the mounts, what is hidden, the new root, and the last privileges."""

from __future__ import annotations

from multios.explain.shell_words import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Parts = dict[str, dict[str, Any]]

_BY_US = {"/etc/hosts", "/etc/hostname", "/etc/resolv.conf"}
_NODES = ("null", "zero", "full", "random", "urandom", "tty")
_FLAGS = ("nosuid", "noexec", "nodev")


def inside(parts: Parts) -> list[str]:
    """The functions that run in the new namespaces."""
    return [
        "# --- in the namespaces ---------------------------------------------------------------------",
        "",
        *_entering(parts),
        *_check_places(parts),
        *_mounts(parts),
        *_hidden(parts),
        *_inside(parts),
    ]


def _entering(parts: Parts) -> list[str]:
    own = not any(row["shared"] for row in parts["namespaces"]["rows"] if row["kind"] == "user")
    run = 'sh "$WORK/by-hand.sh" "$@"'
    as_root = "setpriv --reuid 0 --regid 0 --clear-groups " if own else ""
    return [
        "# Wait until the host has written the id map, then become user 0 of it.",
        "entering() {",
        '    read -r go < "$WORK/go"',
        f"    BY_HAND_STAGE=inside exec {as_root}{run}",
        "}",
        "",
    ]


def _mounts(parts: Parts) -> list[str]:
    lines = [
        "# The file systems that the kernel makes up. They are of these namespaces: /proc shows this pid namespace.",
        "mount_systems() {",
    ]
    for row in parts["mounts"]["asked"]:
        lines += _mount(row, parts)
    return [*lines, "}", "", *_files(parts)]


def _mount(row: dict[str, Any], parts: Parts) -> list[str]:
    target, kind = row["target"], row["type"]
    place = quoted("." + target)
    options = [word for word in row["options"] if word not in ("bind", "rbind", "rw")]
    if target in _BY_US:
        return []
    if kind == "cgroup":
        return _control_groups(parts)
    lines = [f"    mkdir -p {place}"]
    if kind == "bind":
        source = f'"$WORK/volumes/{volumes(parts).index(row) + 1}"'
        return [
            f"    if [ -d {source} ]; then mkdir -p {place}",
            f"    else mkdir -p {quoted('.' + _above(target))}; : >> {place}; fi",
            f"    mount --bind {source} {place}",
        ]
    lines.append(
        f"    mount -t {quoted(kind)} -o {quoted(','.join(options) or 'rw')} {quoted(row['source'])} {place}"
    )
    if target == "/dev":
        lines += [
            "    # In a user namespace nobody can make device files: the host's are mounted one by one.",
            f"    for node in {' '.join(_NODES)}; do : > ./dev/$node; mount --bind /dev/$node ./dev/$node; done",
            "    ln -s pts/ptmx ./dev/ptmx; ln -s /proc/self/fd ./dev/fd",
            "    ln -s /proc/self/fd/0 ./dev/stdin; ln -s /proc/self/fd/1 ./dev/stdout; ln -s /proc/self/fd/2 ./dev/stderr",
        ]
    return lines


def volumes(parts: Parts) -> list[dict[str, Any]]:
    """The mounts of directories and files of the host's, but for those that the engine itself makes."""
    return [row for row in parts["mounts"]["asked"] if row["type"] == "bind" and row["target"] not in _BY_US]


def _above(path: str) -> str:
    return path.rpartition("/")[0] or "/"


def _control_groups(parts: Parts) -> list[str]:
    """The container's own groups, as the cgroup namespace shows them, read-only."""
    own = [group for group in parts["cgroups"]["groups"] if group["directory"] != group["mounted_at"]]
    options = ",".join(("ro", *_FLAGS))
    if parts["cgroups"]["mode"] in ("v2", ""):
        return [f"    mount -t cgroup2 -o {options} cgroup ./sys/fs/cgroup"]
    lines = [f"    mount -t tmpfs -o {','.join(_FLAGS)},mode=755,size=64k tmpfs ./sys/fs/cgroup"]
    for group in own:
        if group["version"] == 1:
            name = quoted(group["controllers"])
            lines.append(
                f"    mkdir ./sys/fs/cgroup/{name}; mount -t cgroup -o {options},{name} cgroup ./sys/fs/cgroup/{name}"
            )
    return [*lines, f"    mount -o remount,bind,{options} ./sys/fs/cgroup"]


def _files(parts: Parts) -> list[str]:
    private = parts["network"]["mode"] == "private"
    lines = [
        "# Three files that depend on where the container is. The resolver is the host's: the engine's own serves its networks.",
        "write_files() {",
        "    mkdir -p ./etc",
        "    for file in hosts hostname resolv.conf; do rm -f ./etc/$file; done   # it may be a link",
        '    echo "$NAME" > ./etc/hostname',
        "    echo 127.0.0.1 localhost > ./etc/hosts",
    ]
    if private:
        lines.append('    echo "$NETWORK.2 $NAME" >> ./etc/hosts')
    return [*lines, "    cat /etc/resolv.conf > ./etc/resolv.conf || true", "}", ""]


def _hidden(parts: Parts) -> list[str]:
    mounts = parts["mounts"]
    read_only = " ".join(quoted("." + path) for path in mounts["read_only"])
    masked = " ".join(quoted("." + path) for path in mounts["masked"])
    flags = ",".join(_FLAGS)
    lines = [
        "# What would tell about the host, or change it, is covered or made read-only.",
        "hide() {",
    ]
    if read_only:
        lines += [
            f"    for path in {read_only}; do",
            '        [ -e "$path" ] || continue',
            f'        mount --bind "$path" "$path"; mount -o remount,bind,ro,{flags} "$path"',
            "    done",
        ]
    if masked:
        lines += [
            f"    for path in {masked}; do",
            f'        if [ -d "$path" ]; then mount -t tmpfs -o ro,{flags},size=0k tmpfs "$path"',
            '        elif [ -e "$path" ]; then mount --bind /dev/null "$path"; fi',
            "    done",
        ]
    if mounts["root"]["read_only"]:
        lines.append("    mount -o remount,bind,ro .")
    return [*lines, "    :", "}", ""]


def _check_places(parts: Parts) -> list[str]:
    """The image is untrusted, and until the last line the host's own files are in reach."""
    targets = [row["target"] for row in parts["mounts"]["asked"] if row["target"] not in _BY_US]
    places = " ".join(quoted("." + target) for target in ("/etc", *targets))
    return [
        "# No place for a mount may be a link, or below one: it would lead out of the new root, into the host's.",
        "check_places() {",
        f"    for place in {places}; do",
        "        path=. rest=${place#./}",
        '        while [ -n "$rest" ]; do',
        "            path=$path/${rest%%/*}",
        '            [ ! -L "$path" ] || { echo "$path is a link" >&2; exit 1; }',
        '            case "$rest" in */*) rest=${rest#*/} ;; *) rest= ;; esac',
        "        done",
        "    done",
        "}",
        "",
    ]


def _inside(parts: Parts) -> list[str]:
    asked = parts["process"]["asked"]
    directory = parts["process"]["working_directory"]
    environment = [f"        {quoted(word)} \\" for word in parts["process"]["environment"]]
    capabilities = parts["capabilities"]
    dropped = ",".join(row["name"].lower() for row in capabilities["dropped"])
    lines = [
        "# A program's file by its name, as a shell would find it, but in the new root.",
        "find_program() {",
        '    case "$1" in /*) echo "$1"; return ;; esac',
        f"    for directory in {_path(parts)}; do",
        '        if [ -x ".$directory/$1" ] || [ -L ".$directory/$1" ]; then echo "$directory/$1"; return; fi',
        "    done",
        '    echo "$1: no such program in the container" >&2; exit 127',
        "}",
        "",
        "inside() {",
        '    hostname "$NAME"',
        "    # A mount of our own to stand on: those that were copied into this namespace cannot be moved.",
        '    mount --rbind "$WORK/root" "$WORK/root"',
        '    cd "$WORK/root"',
        "    check_places",
        "    write_files",
        "    mount_systems",
        *(
            f"    echo {quoted(value)} > {quoted('./proc/sys/' + name.replace('.', '/'))}"
            for name, value in parts["process"]["kernel_parameters"].items()
        ),
        "    hide",
        '    program=$(find_program "$1"); shift',
        "    capsh=$(command -v capsh)",
    ]
    for limit in parts["process"]["limits"]:
        name = limit["type"].removeprefix("RLIMIT_").lower()
        lines.append(f"    prlimit --pid $$ --{quoted(name)}={limit['soft']}:{limit['hard']}")
    if directory != "/":
        lines += [
            "    # capsh begins in /: a shell inside goes to the working directory first.",
            '    set -- -c \'cd "$1"; shift; exec "$@"\' sh '
            + quoted(directory)
            + ' "$program" "$@"; program=/bin/sh',
        ]
    lines += [
        "    # The new root goes over the old one; nothing leads back to what it covers.",
        "    mount --no-mtab --move . /",
        "    # The last step: the root directory, the capabilities that are given up for good, the user. Then the program.",
        "    exec env -i \\",
        *environment,
        '        "$capsh" --chroot=. \\',
    ]
    if dropped:
        lines.append(f"        --drop={dropped} \\")
    lines.append("        --inh= --noamb \\")
    if asked["groups"]:
        lines.append(f"        --groups={','.join(str(number) for number in asked['groups'])} \\")
    if asked["uid"] or asked["gid"]:
        lines.append(f"        --gid={asked['gid']} --uid={asked['uid']} \\")
    if capabilities["no_new_privileges"]:
        lines.append("        --no-new-privs \\")
    return [*lines, '        --shell="$program" -- "$@"', "}", ""]


def _path(parts: Parts) -> str:
    words = dict(word.partition("=")[::2] for word in parts["process"]["environment"])
    places = words.get("PATH") or "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return " ".join(quoted(place) for place in places.split(":") if place.startswith("/"))
