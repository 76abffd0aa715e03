#!/bin/sh
# Keeps the services of this template running.
#
#   multios-services          start them all, in order, and stay; the container's first process
#   multios-services status   list them; exit status 0 when every one is ready
#   multios-services wait N   until they are all ready, N seconds and not a whole one more
#
# A service that ends is started again after a pause, which grows from 1 to 30 seconds and is 1 again once the service
# has run for a minute. On SIGTERM the services end in reverse order, each within 8 seconds, then everything else,
# and the exit status is 0. What services print goes to the container's log.

names='@names@'
state=/run/multios-services

command_of() {
    run=$2
    case $1 in
@commands@
    esac
}

prepare_of() {
    run=
    case $1 in
@prepare@
    esac
}

ready_of() {
    # A probe that hangs is no answer.
    run=$(command -v timeout) && run="$run 10"
    case $1 in
@ready@
    esac
}

say() {
    echo "multios-services: $*"
}

# --- one service, in a process of its own -------------------------------------------------------------------------

note() {
    echo "$2" > "$state/$1.new" && mv "$state/$1.new" "$state/$1"
}

signal_group() {
    # Before it has become a group of its own, the process is alone. Shells agree on no form with "--".
    kill "-$1" "-$2" 2> /dev/null || kill "-$1" "$2" 2> /dev/null
}

pause_for() {
    sleep "$1" &
    wait $! 2> /dev/null
}

prepare_service() {
    note "$1" "preparing 0 0"
    prepare_of "$1" < /dev/null
}

run_service() {
    ( trap - TERM INT HUP; command_of "$1" "exec $setsid" < /dev/null ) &
    child=$!
    [ -z "$ending" ] || signal_group TERM "$child"
    note "$1" "running $child $restarts"
    wait "$child"
    status=$?
}

end_service() {
    # Its first process may be gone while those that it started still finish their work.
    [ -n "$child" ] || return 0
    patience=80
    while signal_group 0 "$child"; do
        if [ "$patience" -eq 0 ]; then
            say "$1 does not end, and is killed"
            signal_group KILL "$child"
        fi
        [ "$patience" -gt -10 ] || break
        patience=$((patience - 1))
        sleep 0.1 &
        wait $! 2> /dev/null
    done
    wait "$child" 2> /dev/null
}

supervise() {
    ending='' child='' restarts=0 pause=1
    trap 'ending=1; [ -z "$child" ] || signal_group TERM "$child"' TERM
    trap '' INT HUP
    until prepare_service "$1"; do
        [ -z "$ending" ] || exit 0
        say "$1 could not be prepared; again in $pause s"
        pause_for "$pause"
        [ "$pause" -ge 16 ] && pause=30 || pause=$((pause * 2))
    done
    pause=1
    while [ -z "$ending" ]; do
        began=$(date +%s)
        run_service "$1"
        [ -z "$ending" ] || break
        [ $(($(date +%s) - began)) -lt 60 ] || pause=1
        say "$1 ended with status $status; again in $pause s"
        # What is left of it would be in the way of the next.
        signal_group TERM "$child"
        child=
        restarts=$((restarts + 1))
        note "$1" "waiting 0 $restarts"
        pause_for "$pause"
        [ "$pause" -ge 16 ] && pause=30 || pause=$((pause * 2))
    done
    end_service "$1"
    note "$1" "ended 0 $restarts"
    exit 0
}

# --- all of them --------------------------------------------------------------------------------------------------

start_all() {
    ending='' supervisors=''
    trap 'ending=1' TERM INT HUP
    rm -rf "$state"
    mkdir -p "$state" || { say "cannot write $state: start the container as root"; exit 1; }
    # After a boot no process of before is there, but its number may be another's: a server would think itself running.
    [ $$ -ne 1 ] || rm -f /run/*.pid /run/*/*.pid
    setsid=$(command -v setsid)
    for name in $names; do
        supervise "$name" &
        supervisors="$name:$! $supervisors"
    done
    while [ -z "$ending" ]; do
        wait
        [ -n "$ending" ] || { say "nothing is supervised any more"; exit 1; }
    done
    end_all
}

end_all() {
    # A second signal does not hurry it: the engine's own patience has an end.
    trap '' TERM INT HUP
    for one in $supervisors; do
        say "ending ${one%:*}"
        kill -TERM "${one#*:}" 2> /dev/null
        wait "${one#*:}" 2> /dev/null
    done
    [ $$ -ne 1 ] || kill -TERM -1 2> /dev/null
    exit 0
}

# --- asking -------------------------------------------------------------------------------------------------------

state_of() {
    what=absent pid=0 restarts=0
    [ -r "$state/$1" ] && read -r what pid restarts < "$state/$1"
    [ "$what" != running ] || ! ready_of "$1" > /dev/null 2>&1 < /dev/null || what=ready
}

show_all() {
    all=0
    printf '%-20s %-10s %8s %9s\n' SERVICE STATE PID RESTARTS
    for name in $names; do
        state_of "$name"
        [ "$what" = ready ] || all=1
        printf '%-20s %-10s %8s %9s\n' "$name" "$what" "$pid" "$restarts"
    done
    return $all
}

wait_for_all() {
    # The clock tells whole seconds: the one that has begun is not counted.
    end=$(($(date +%s) + $1))
    until show_all > /dev/null; do
        [ "$(date +%s)" -le "$end" ] || { show_all; return 1; }
        sleep 0.3
    done
    show_all
}

case ${1-} in
    '') start_all ;;
    status) show_all ;;
    wait) wait_for_all "${2:-60}" ;;
    *) echo "usage: multios-services [status | wait SECONDS]" >&2; exit 2 ;;
esac
