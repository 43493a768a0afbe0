# For the scripts beside this file: runs checks at the same time, tells which failed and counts them.
#   check NAME COMMAND...   the check passes if the command does; its output is shown only when it fails
#   finish WHAT             waits; prints "WHAT: N of N checks pass"; false if one failed
# shellcheck shell=bash

jobs_max=$(nproc)
checks_dir=$(mktemp -d)
checks_count=0
trap 'rm -rf "$checks_dir"' EXIT

check() {
    local name=$1
    shift
    while (($(jobs -rp | wc -l) >= jobs_max)); do wait -n || true; done
    checks_count=$((checks_count + 1))
    local log=$checks_dir/$checks_count
    {
        if "$@" >"$log" 2>&1 </dev/null; then
            mv "$log" "$log.pass"
        else
            { echo "FAIL $name" && sed -n 's/^/    /; 1,25p' "$log"; } >"$log.fail"
            cat "$log.fail"
        fi
    } &
}

finish() {
    wait
    local passed
    passed=$(find "$checks_dir" -name '*.pass' | wc -l)
    echo "$1: $passed of $checks_count checks pass"
    ((passed == checks_count && checks_count > 0))
}
