"""`python -m sandbox`: the outside world in miniature, and the whole product inside it, on this machine."""

from __future__ import annotations

import argparse
import sys

from sandbox import day, demo, dependencies, docs, faults, run, shell
from sandbox.chaos import command as chaos
from sandbox.hosts import command as chaos_hosts
from sandbox.upstreams import serve


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m sandbox", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    for name, module, text in (
        ("run", run, "the whole system: servers, upstreams and every process, until Ctrl-C"),
        ("demo", demo, "a scripted story through every outcome; exits 0 only if every promise was kept"),
        ("chaos", chaos, "the same under load and struck all the time; exits 0 only if nothing was lost or doubled"),
        ("chaos-hosts", chaos_hosts, "the same on many hosts, which are cut off, frozen and failed over; needs root"),
        ("day", day, "one Monday in minutes; exits 0 only if all was kept and it went as its constants predict"),
        ("shell", shell, "a shell in which `flask …` reaches the running system"),
        ("upstreams", serve, "only the sandbox upstreams, until Ctrl-C"),
        ("faults", faults, "make a running upstream fail, or stop failing"),
        ("docs", docs, "write the pages of docs/ that are generated from code"),
        ("dependencies", dependencies, "known weaknesses of the pinned packages, but those accepted"),
    ):
        command = commands.add_parser(name, help=text, description=module.__doc__)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    # Everything after `flask` is its own, `--help` too.
    command = commands.add_parser(
        "flask", help="a flask command in the running system", prefix_chars="\0", add_help=False
    )
    command.add_argument("words", nargs=argparse.REMAINDER)
    command.set_defaults(run=shell.run_flask)
    arguments = parser.parse_args()
    return int(arguments.run(arguments))


if __name__ == "__main__":
    sys.exit(main())
