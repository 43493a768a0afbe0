#!/usr/bin/env python3
"""How long a file that includes the header takes to compile, as a multiple of one that includes <chrono>, <variant> and
<condition_variable> alone. Both are measured in turn, in seconds of processor time, and the least of each counts, so that
other work on the machine disturbs the comparison little.

    include_cost.py COMPILER ROOT
"""

import pathlib
import resource
import subprocess
import sys

RATIO_MAX = 1.35  # A ratchet on the way to 1.20: it is only ever lowered.
PAIRS = 25  # Enough for the least of each to be hardly disturbed.


def processor_time():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def seconds(command):
    before = processor_time()
    subprocess.run(command, check=True)
    return processor_time() - before


def main():
    compiler, root = sys.argv[1:]
    here = pathlib.Path(__file__).parent
    command = [compiler, "-std=c++20", "-I", root, "-c", "-o", "/dev/null"]
    pairs = [
        (seconds([*command, here / "cost_without.cpp"]), seconds([*command, here / "cost_with.cpp"]))
        for _ in range(PAIRS + 1)
    ][1:]  # the first only fills caches
    without, with_header = (min(column) for column in zip(*pairs))
    ratio = with_header / without
    print(f"include cost with {compiler}: {ratio:.2f}, at most {RATIO_MAX} ({with_header:.2f} s to {without:.2f} s)")
    return 0 if ratio <= RATIO_MAX else 1


if __name__ == "__main__":
    sys.exit(main())
