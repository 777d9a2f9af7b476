"""``python -m server.access.token NAME``: a new token, and what the clients file says of it."""

import argparse
import hashlib
import secrets
import sys

from server.access.clients import Scope

_TOKEN_BYTES = 32


def main() -> None:
    """Print the token on stdout and its entry on stderr, so that each can go its way."""
    parser = argparse.ArgumentParser(prog="python -m server.access.token", description=__doc__)
    parser.add_argument("name", help="the client's name")
    parser.add_argument(
        "--scope", action="append", choices=[scope.value for scope in Scope], dest="scopes"
    )
    arguments = parser.parse_args()
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    digest = hashlib.sha256(token.encode()).hexdigest()
    scopes = ", ".join(f'"{scope}"' for scope in arguments.scopes or [Scope.CLASSIFY, Scope.READ])
    sys.stdout.write(f"{token}\n")
    sys.stderr.write(
        f'[[clients]]\nname = "{arguments.name}"\ntoken_sha256 = "{digest}"\nscopes = [{scopes}]\n'
    )


if __name__ == "__main__":
    main()
