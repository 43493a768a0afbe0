#!/usr/bin/env python3
"""What a file that includes the header costs to compile, as a multiple of one that includes <chrono>, <variant> and
<condition_variable> alone. The cost is counted in instructions that the compiler executes, as valgrind counts them: unlike
seconds, they are nearly the same whatever else the machine does, so once is enough.

    include_cost.py COMPILER ROOT
"""

import concurrent.futures
import pathlib
import re
import subprocess
import sys
import tempfile

# A ratchet: they are only ever lowered. The path to the files moves what is measured by half a percent.
RATIO_MAX = {"g++": 1.19, "clang++": 1.21}


def instructions(command):
    """Of all the processes that the command starts, in millions."""
    with tempfile.TemporaryDirectory() as directory:
        valgrind = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]
        log = f"--log-file={directory}/%p"
        subprocess.run([*valgrind, "--trace-children=yes", log, *command], check=True)
        logs = [file.read_text(encoding="utf-8") for file in pathlib.Path(directory).iterdir()]
        counts = [re.search(r"I\s+refs:\s+([\d,]+)", text) for text in logs]
        return sum(int(count.group(1).replace(",", "")) for count in counts if count) / 1e6


def main():
    compiler, root = sys.argv[1:]
    here = pathlib.Path(__file__).parent
    command = [compiler, "-std=c++20", "-I", root, "-S", "-o", "/dev/null"]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        files = [here / "cost_without.cpp", here / "cost_with.cpp"]
        without, with_header = pool.map(lambda file: instructions([*command, file]), files)
    ratio = with_header / without
    counts = f"{with_header:.0f} to {without:.0f} million instructions"
    print(f"include cost with {compiler}: {ratio:.3f}, at most {RATIO_MAX[compiler]} ({counts})")
    return 0 if without > 0 and ratio <= RATIO_MAX[compiler] else 1


if __name__ == "__main__":
    sys.exit(main())
