"""``python -m benchmarks.peers``: make the peers' environments, list them."""

import argparse
import sys

from benchmarks.peers import environments
from benchmarks.peers.catalogue import PEERS


def main() -> int:
    """Run the command; return the exit code."""
    arguments = _arguments()
    if arguments.command == "list":
        for name, peer in PEERS.items():
            state = "ready" if environments.is_set_up(name) else "not set up"
            print(f"{name:10s} {peer.title:20s} {peer.protocol:14s} {state}")
        return 0
    failed = 0
    for name in PEERS if arguments.name == "all" else [arguments.name]:
        try:
            environments.set_up(name)
        except environments.SetupError as error:
            failed = 1
            print(f"{name}: does not install:\n{error}", file=sys.stderr)
        else:
            version = environments.version(name, PEERS[name].package)
            print(f"{name}: {PEERS[name].package} {version} in {environments.folder(name)}")
    return failed


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="the peers and whether they are set up")
    set_up = commands.add_parser("setup", help="make a virtual environment")
    set_up.add_argument("name", choices=[*PEERS, "all"])
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
