"""`python -m scripts.bench [NAME…]` runs the named benchmarks, or all but the long ones.

They run one after the other, so that none slows another. Each is a process of its own and prints a Markdown table below
the setting it was measured in. A benchmark that fails is named at the end, after the others have run; the exit code is
then 1, and 2 for a name that does not exist.
"""

import argparse
import subprocess
import sys

from runtime.exit_codes import ExitCode

BENCHES = ("wire", "receiver", "simulator", "inference", "learner", "remote", "realtime", "pictures")
LONG = ("learning", "game", "dashboard", "chunks")
"""Run by name alone: hours of computation, which go on where they were interrupted, real time, an hour of load."""


def main(arguments: list[str] | None = None) -> ExitCode:
    """Run them; the exit code is the answer."""
    known = ", ".join(BENCHES + LONG)
    parser = argparse.ArgumentParser(description="Measure every figure of docs/performance.md on this machine.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which ones (all but {', '.join(LONG)}): {known}")
    names = list(dict.fromkeys(parser.parse_args(arguments).names)) or list(BENCHES)
    unknown = [name for name in names if name not in BENCHES + LONG]
    if unknown:
        print(f"There is no benchmark called {', '.join(unknown)}; there are: {known}.", file=sys.stderr)
        return ExitCode.USAGE
    failed = []
    for name in names:
        print(f"## {name}\n", flush=True)
        if subprocess.run([sys.executable, "-m", f"scripts.bench.{name}"], check=False).returncode != 0:
            failed.append(name)
        print(flush=True)
    if failed:
        print(f"Failed: {', '.join(failed)}; what went wrong is said above.", file=sys.stderr)
    return ExitCode.FAILED if failed else ExitCode.OK


if __name__ == "__main__":
    sys.exit(main())
