#!/bin/sh
# Runs as root of the container, with the work in $WORK; its exit status is the judgement.
grep -q -x '{{number}}' "$WORK/{{codename}}"
