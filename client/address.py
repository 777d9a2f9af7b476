"""Where the server is: HOST:PORT from an argument, the environment, or the default."""

import ipaddress
import os
import re

from client.errors import AddressError

DEFAULT_ADDRESS = "127.0.0.1:50051"
SERVER_VARIABLE = "MENAGERIE_SERVER"

_MAX_PORT = 65535
_ADDRESS = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+(?:%[\w.]+)?\]|[\w.-]+):(?P<port>[0-9]{1,5})")


def server_address(address: str | None) -> str:
    """Return the address to use: `address`, else $MENAGERIE_SERVER, else the default.

    Raises:
        AddressError: It is not HOST:PORT.
    """
    return checked_address(address or os.environ.get(SERVER_VARIABLE) or DEFAULT_ADDRESS)


def checked_address(address: str) -> str:
    """Return `address` unchanged if it is HOST:PORT, where an IPv6 host is in brackets.

    Raises:
        AddressError: It is not.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None or not 0 < int(match["port"]) <= _MAX_PORT:
        raise AddressError(
            f"{address!r} is not HOST:PORT, for example {DEFAULT_ADDRESS} or [::1]:50051"
        )
    return address


def is_loopback(address: str) -> bool:
    """Tell whether HOST:PORT names this very machine."""
    host = address.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
