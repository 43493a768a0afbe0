#!/usr/bin/env python3
"""How long a file that includes the header takes to compile, as a multiple of one that includes <chrono>, <variant> and
<condition_variable> alone. Both are timed in turn, pair by pair, so that a machine that gets slower slows both.

    include_cost.py COMPILER ROOT
"""

import pathlib
import statistics
import subprocess
import sys
import time

RATIO_MAX = 1.25
PAIRS = 11


def seconds(command):
    start = time.perf_counter()
    subprocess.run(command, check=True)
    return time.perf_counter() - start


def main():
    compiler, root = sys.argv[1:]
    here = pathlib.Path(__file__).parent
    command = [compiler, "-std=c++20", "-I", root, "-c", "-o", "/dev/null"]
    pairs = [
        (seconds([*command, here / "cost_without.cpp"]), seconds([*command, here / "cost_with.cpp"]))
        for _ in range(PAIRS + 1)
    ][1:]  # the first only fills caches
    without, with_header = (statistics.median(column) for column in zip(*pairs))
    ratio = statistics.median(b / a for a, b in pairs)
    print(f"include cost with {compiler}: {ratio:.2f}, at most {RATIO_MAX} ({with_header:.2f} s to {without:.2f} s)")
    return 0 if ratio <= RATIO_MAX else 1


if __name__ == "__main__":
    sys.exit(main())
