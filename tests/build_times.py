#!/usr/bin/env python3
"""Prints the seconds of each crate from the report that `cargo build --timings` writes, beside an earlier one.

tests/build_times.py target/cargo-timings/cargo-timing.html [EARLIER] [--least SECONDS]
"""
import argparse
import json
import re


def seconds(path):
    """Seconds of each crate's library, program, build script and tests together."""
    with open(path, encoding="utf-8") as report:
        units = json.loads(re.search(r"const UNIT_DATA = (\[.*?\]);\n", report.read(), re.S).group(1))
    total = {}
    for unit in units:
        kind = " (tests)" if "test" in unit["target"] else ""
        name = unit["name"] + kind
        total[name] = total.get(name, 0) + unit["duration"]
    return total


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report")
    parser.add_argument("earlier", nargs="?")
    parser.add_argument("--least", type=float, default=5)
    arguments = parser.parse_args()
    now = seconds(arguments.report)
    before = seconds(arguments.earlier) if arguments.earlier else {}
    longest = {name: max(now.get(name, 0), before.get(name, 0)) for name in {*now, *before}}
    for name in sorted(longest, key=longest.get, reverse=True):
        if longest[name] >= arguments.least:
            columns = [before, now] if before else [now]
            cells = [f"{column[name]:.0f}" if name in column else "-" for column in columns]
            print(f"| {name} | {' | '.join(cells)} |")
    print("| sum | " + " | ".join(f"{sum(column.values()):.0f}" for column in ([before, now] if before else [now])) + " |")


if __name__ == "__main__":
    main()
