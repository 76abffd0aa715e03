"""What the script does on the host: directory, layers, cgroups, namespaces, id map, network, and the way back."""

from __future__ import annotations

from multios.explain.script_inside import volumes
from multios.explain.shell_words import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Parts = dict[str, dict[str, Any]]

_FLAGS = {
    "user": "--user",
    "pid": "--pid",
    "mnt": "--mount",
    "net": "--net",
    "uts": "--uts",
    "ipc": "--ipc",
    "cgroup": "--cgroup",
    "time": "--time",
}


def outside(parts: Parts) -> list[str]:
    """The functions for the host's side."""
    private = parts["network"]["mode"] == "private" and not _shared(parts, "net")
    return [
        "# --- on the host ---------------------------------------------------------------------------",
        "",
        *_clean_up(parts, private),
        *_layers(parts),
        *_owners(parts),
        *_volumes(parts),
        *limits(parts),
        *(_network(parts) if private else []),
        *_outside(parts, private),
    ]


def _shared(parts: Parts, kind: str) -> bool:
    return any(row["shared"] for row in parts["namespaces"]["rows"] if row["kind"] == kind)


def _clean_up(parts: Parts, private: bool) -> list[str]:
    network = [
        "    # The veth pair goes with its network namespace; the bridge and the rules are ours to remove.",
        '    ip link delete "$BRIDGE" 2>/dev/null || true',
        '    nft delete table ip "$TABLE" 2>/dev/null || true',
    ]
    return [
        "# Everything that was made, taken away again, however the script ends.",
        "clean_up() {",
        "    status=$?",
        "    trap - EXIT",
        "    trap '' INT TERM HUP",
        "    # The container's first process takes all others of its pid namespace along.",
        '    [ -z "${PID-}" ] || kill -KILL "$PID" 2>/dev/null || true',
        '    [ -z "${UNSHARE-}" ] || wait "$UNSHARE" 2>/dev/null || true',
        *(network if private else []),
        "    for group in $GROUPS_MADE; do",
        "        for try in 1 2 3 4 5 6 7 8 9 10; do",
        '            rmdir "$group" 2>/dev/null && break || sleep 0.1   # the dead leave it a moment later',
        "        done",
        "    done",
        '    for place in "$WORK/root" "$WORK"/volumes/*; do',
        '        umount --lazy "$place" 2>/dev/null || true',
        "    done",
        "    # Never while something of the host's is still mounted there.",
        '    if grep -q " $WORK/" /proc/self/mountinfo; then echo "still mounted below $WORK" >&2',
        '    else rm -rf --one-file-system "$WORK"; fi',
        "    exit $status",
        "}",
        "",
    ]


def _layers(parts: Parts) -> list[str]:
    root = parts["mounts"]["root"]
    lines = [
        "# The root: the image's directories, each only read, and above them one that takes all changes.",
        "lay_layers() {",
        '    mkdir "$WORK/root" "$WORK/upper" "$WORK/work" "$WORK/layers"',
        "    # Short names: the kernel takes no more than a page of mount options.",
    ]
    for number, path in enumerate(root["lower"], 1):
        lines.append(f'    ln -s {quoted(path)} "$WORK/layers/{number}"')
    if not root["lower"]:
        lines.append('    mkdir "$WORK/layers/1"   # its storage has no layers: all of it is copied')
    if root["limited_file"]:
        lines.append(
            "    # What the container has written lies in a file system of its own: this one begins without it."
        )
    elif root["upper"] or root["copy"]:
        lines += [
            "    # What the container has written so far, copied: the real one's directory stays its own. By tar, which",
            "    # follows no link: a program in there may put one in a directory's place meanwhile.",
            f"    tar --create --xattrs --xattrs-include='*' --numeric-owner -C {quoted(root['upper'] or root['copy'])} . |",
            "        tar --extract --xattrs --xattrs-include='*' --numeric-owner --same-owner -p -C \"$WORK/upper\"",
        ]
    lower = ":".join(f"layers/{number}" for number in range(1, max(1, len(root["lower"])) + 1))
    return [
        *lines,
        "    # metacopy: to change a file's owner copies its name and owner, not its content.",
        '    ( cd "$WORK" && mount -t overlay \\',
        f"        -o {''.join(f'{word},' for word in root['flags'])}lowerdir={lower},upperdir=upper,workdir=work,metacopy=on,redirect_dir=on \\",
        "        overlay root )",
        "}",
        "",
    ]


def _owners(parts: Parts) -> list[str]:
    if _shared(parts, "user"):
        return ["# The container has the host's ids: owners stay as they are.", "shift_owners() { :; }", ""]
    return [
        "# On disk the owners are the container's own numbers, 0 for its root. The engine maps them while it mounts;",
        "# here each becomes the host's number that the id map leads to.",
        "shift_owners() {",
        "    # chown takes set-user-ID bits away, so they are noted first. (It takes file capabilities, too.)",
        '    find "$WORK/root" -xdev -type f -perm /6000 -exec stat --printf \'%a\\0%n\\0\' {} + > "$WORK/modes"',
        '    find "$WORK/root" -xdev -printf \'%U %G\\n\' | sort -u > "$WORK/owners"',
        "    while read -r user group; do",
        '        [ "$user" -lt "$IDS" ] && [ "$group" -lt "$IDS" ] || continue',
        '        find "$WORK/root" -xdev -uid "$user" -gid "$group" -exec \\',
        "            chown --no-dereference $((FIRST_ID + user)):$((FIRST_ID + group)) {} +",
        '    done < "$WORK/owners"',
        '    xargs --null --no-run-if-empty --max-args=2 chmod < "$WORK/modes"',
        "}",
        "",
    ]


def _volumes(parts: Parts) -> list[str]:
    """Held here, because the container's root may not go where they are."""
    lines = [
        "# The host's directories that the container has. The real one writes to them with mapped ids, this one reads.",
        "hold_volumes() {",
        '    mkdir "$WORK/volumes"',
    ]
    for number, row in enumerate(volumes(parts), 1):
        source, place = quoted(row["source"]), f'"$WORK/volumes/{number}"'
        lines += [
            f"    if [ -d {source} ]; then mkdir {place}; else : > {place}; fi",
            f"    mount --bind {source} {place}; mount -o remount,bind,ro,nosuid,nodev {place}",
        ]
    return [*lines, "}", ""]


def limits(parts: Parts) -> list[str]:
    """The functions that make the groups, with the same values, and join them."""
    part = parts["cgroups"]
    lines = [
        "# A control group is a directory: made with mkdir, limited with echo, joined by writing a process into it.",
        "make_groups() {",
    ]
    groups = [group for group in part["groups"] if group["directory"] != group["mounted_at"]]
    for group in groups:
        lines += _group(group, [row for row in part["limits"] if _is_in(row, group)])
    if part["mode"] == "v2":
        lines.append(
            "    # Which devices may be used is a BPF program on cgroup v2: a shell cannot load one."
        )
    if not groups:
        lines.append("    :   # the kernel knows no group of it: it does not run")
    return [
        *lines,
        "}",
        "",
        "# The one who calls this is written into every group, and so are all whom it starts.",
        "join_groups() {",
        '    for group in $GROUPS_MADE; do echo 0 > "$group/cgroup.procs"; done',
        "}",
        "",
    ]


def _is_in(row: dict[str, str], group: dict[str, Any]) -> bool:
    directory, _, _ = row["file"].rpartition("/")
    return bool(row["raw"]) and directory == group["directory"]


def _group(group: dict[str, Any], rows: list[dict[str, str]]) -> list[str]:
    """A group beside the engine's own, with the values that the container's has."""
    engines = group["directory"].rpartition("/")[0]
    beside = engines.rpartition("/")[0] if engines != group["mounted_at"] else engines
    if not beside.startswith(group["mounted_at"]):
        beside = group["mounted_at"]
    lines = [
        f"    group={quoted(beside)}/by-hand-$$",
        '    mkdir "$group"; GROUPS_MADE="$GROUPS_MADE $group"',
    ]
    if "cpuset" in group["controllers"].split(","):
        lines += [
            "    # A cpuset of version 1 begins empty, and nobody can join an empty one.",
            f'    cat {quoted(beside)}/cpuset.cpus > "$group/cpuset.cpus"',
            f'    cat {quoted(beside)}/cpuset.mems > "$group/cpuset.mems"',
        ]
    for row in rows:
        name = row["file"].rpartition("/")[2]
        if name == "devices.list":
            lines.append('    echo a > "$group/devices.deny"   # no device, but:')
            lines += [f'    echo {quoted(rule)} > "$group/devices.allow"' for rule in row["raw"].splitlines()]
        else:
            lines += [
                f'    echo {quoted(line)} > "$group/{name}"   # {row["what"]}'
                for line in row["raw"].splitlines()
            ]
    return lines


def _network(parts: Parts) -> list[str]:
    address = next(
        (
            text
            for link in parts["network"]["interfaces"]
            if link["name"] == "eth0"
            for text in link["addresses"]
            if ":" not in text
        ),
        "10.0.0.2/24",
    )
    length = address.partition("/")[2]
    wide = length == "16"
    return [
        "# A subnet that this host has no route to: two bridges with the same would confuse it.",
        "choose_subnet() {",
        f"    number={200 if wide else 0}",
        "    while :; do",
        f"        NETWORK={'10.$number.0' if wide else '10.213.$number'}; LENGTH={16 if wide else 24}",
        '        [ -n "$(ip -4 route show root "$NETWORK.0/$LENGTH"; ip -4 route show match "$NETWORK.0/$LENGTH" |',
        "            grep -v '^default' || true)\" ] || return 0",
        "        number=$((number + 1))",
        '        [ "$number" -lt 256 ] || { echo "no free subnet" >&2; exit 1; }',
        "    done",
        "}",
        "",
        "# A bridge on the host, a cable from it into the container, and one rule that lets packets out.",
        "make_network() {",
        '    ip link add "$BRIDGE" type bridge',
        '    ip address add "$NETWORK.1/$LENGTH" dev "$BRIDGE"',
        '    ip link set "$BRIDGE" up',
        "    # One end stays here and is plugged into the bridge, the other is made inside, as eth0.",
        '    ip link add "$CABLE" type veth peer name eth0 netns "$PID"',
        '    ip link set "$CABLE" master "$BRIDGE" up',
        '    nsenter --target "$PID" --net ip link set lo up',
        '    nsenter --target "$PID" --net ip address add "$NETWORK.2/$LENGTH" dev eth0',
        "    # As in the real one: no IPv6 that nobody asked for.",
        "    nsenter --target \"$PID\" --net sh -c 'echo 1 > /proc/sys/net/ipv6/conf/eth0/disable_ipv6' 2>/dev/null || true",
        '    nsenter --target "$PID" --net ip link set eth0 up',
        '    nsenter --target "$PID" --net ip route add default via "$NETWORK.1"',
        "    # Out: under the host's address. In: answers alone.",
        '    nft add table ip "$TABLE"',
        "    nft add chain ip \"$TABLE\" leaving '{ type nat hook postrouting priority srcnat; }'",
        '    nft add rule ip "$TABLE" leaving ip saddr "$NETWORK.0/$LENGTH" oifname != "$BRIDGE" masquerade',
        "    nft add chain ip \"$TABLE\" passing '{ type filter hook forward priority filter; }'",
        '    nft add rule ip "$TABLE" passing oifname "$BRIDGE" iifname != "$BRIDGE" ct state != established,related drop',
        '    [ "$(cat /proc/sys/net/ipv4/ip_forward)" = 1 ] ||',
        '        echo "the host forwards no packets: echo 1 > /proc/sys/net/ipv4/ip_forward would let it" >&2',
        *_published(parts),
        "}",
        "",
    ]


def _published(parts: Parts) -> list[str]:
    ports = [port for port in parts["network"]["ports"] if port["host"]]
    if not ports:
        return []
    lines = [
        "    # Published ports. The real container has these already, so they are only shown: take another number,",
        "    # and take the rule against what comes in away.",
        "    # nft add chain ip \"$TABLE\" arriving '{ type nat hook prerouting priority dstnat; }'",
    ]
    for port in ports:
        lines.append(
            f'    # nft add rule ip "$TABLE" arriving fib daddr type local {port["protocol"]} dport {port["host"]} '
            f'dnat to "$NETWORK.2:{port["container"]}"'
        )
    return lines


def _outside(parts: Parts, private: bool) -> list[str]:
    own = [_FLAGS[row["kind"]] for row in parts["namespaces"]["rows"] if not row["shared"]]
    user = "--user" in own
    lines = [
        "outside() {",
        "    GROUPS_MADE= PID= UNSHARE=",
        "    exec 3<&0   # a program in the background would lose its input",
        "    BRIDGE=bh$$ CABLE=bc$$ TABLE=by-hand-$$",
        "    # Not below /tmp, which may lie in memory. Only the container's root may pass through it.",
        '    WORK=$(mktemp -d /var/tmp/by-hand.$$.XXXXXX); chown 0:"$FIRST_ID" "$WORK"; chmod 710 "$WORK"',
        "    trap clean_up EXIT; trap 'exit 130' INT; trap 'exit 143' TERM; trap 'exit 129' HUP",
        '    cp "$0" "$WORK/by-hand.sh"; chown 0:"$FIRST_ID" "$WORK/by-hand.sh"; chmod 640 "$WORK/by-hand.sh"',
        "    lay_layers",
        "    shift_owners",
        "    hold_volumes",
        "    make_groups",
    ]
    if private:
        lines.append("    choose_subnet")
    lines += [
        '    mkfifo "$WORK/go"',
        "    # The namespaces: unshare(1) leaves the host's and forks, for a new pid namespace begins with its first child.",
        f"    # It has no ids in them yet{', but keeps its capabilities there' if user else ''}; it waits until the host has done its part.",
        "    (",
        "        join_groups",
        '        BY_HAND_STAGE=entering WORK="$WORK" NETWORK="${NETWORK-}" exec unshare \\',
        f"            {' '.join(own)} \\",
        f'            --fork {"--keep-caps " if user else ""}--propagation private sh "$WORK/by-hand.sh" "$@"',
        "    ) <&3 3<&- &",
        "    UNSHARE=$!",
        '    until PID=$(cat "/proc/$UNSHARE/task/$UNSHARE/children" 2>/dev/null) && [ -n "$PID" ]; do',
        '        kill -0 "$UNSHARE" 2>/dev/null || { PID=; exit 1; }',
        "        sleep 0.02",
        "    done",
        "    PID=${PID%% *}",
    ]
    if user:
        lines += [
            "    # Which ids inside are which outside: one line, written once.",
            '    echo "0 $FIRST_ID $IDS" > "/proc/$PID/uid_map"',
            '    echo "0 $FIRST_ID $IDS" > "/proc/$PID/gid_map"',
        ]
    if private:
        lines.append("    make_network")
    elif not _shared(parts, "net"):
        lines.append('    nsenter --target "$PID" --net ip link set lo up   # its whole network')
    return [
        *lines,
        '    echo go > "$WORK/go"',
        "    status=0",
        '    wait "$UNSHARE" || status=$?',
        "    PID= UNSHARE=",
        "    exit $status",
        "}",
        "",
    ]
