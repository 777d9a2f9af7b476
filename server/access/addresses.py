"""Which addresses can be reached from other machines."""

import ipaddress


def is_public(host: str) -> bool:
    """Whether others than this machine can reach ``host``; a name other than localhost counts."""
    if host == "localhost":
        return False
    try:
        return not ipaddress.ip_address(host.strip("[]").partition("%")[0]).is_loopback
    except ValueError:
        return True
