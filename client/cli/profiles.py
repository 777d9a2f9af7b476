"""Profiles: names for servers and what they ask for, in a file of the user's.

A profile stands in for environment variables, of which every option of the command line has one;
options win over it. Only the command line reads it, the SDK does not.
"""

import os
import tomllib
from collections.abc import Mapping, MutableMapping
from pathlib import Path

CONFIG_VARIABLE = "MENAGERIE_CLIENT_CONFIG"

# What a profile may say, and the variable that it stands for.
KEYS: Mapping[str, str] = {
    "server": "MENAGERIE_SERVER",
    "tls": "MENAGERIE_TLS",
    "ca": "MENAGERIE_CA",
    "certificate": "MENAGERIE_CLIENT_CERT",
    "key": "MENAGERIE_CLIENT_KEY",
    "token_file": "MENAGERIE_TOKEN_FILE",
}
_PATHS = ("ca", "certificate", "key", "token_file")


class ProfileError(Exception):
    """The file cannot be read, or a profile in it is not as it should be."""


def config_path(environment: Mapping[str, str] = os.environ) -> Path:
    """Return where the file is: $MENAGERIE_CLIENT_CONFIG, else in the user's configuration."""
    if environment.get(CONFIG_VARIABLE):
        return Path(environment[CONFIG_VARIABLE])
    home = environment.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(home) / "menagerie" / "client.toml"


def apply_profile(name: str, environment: MutableMapping[str, str] = os.environ) -> None:
    """Put a profile into the environment.

    Args:
        name: Which one; it wins over the environment. Empty: the one that the file names as
            ``profile``, if any, and the environment wins.
        environment: What to change.

    Raises:
        ProfileError: There is no such profile, or it is malformed.
    """
    path = config_path(environment)
    if not path.exists() and not name:
        return
    config = _read(path)
    chosen = name or config.get("profile", "")
    if not chosen:
        return
    for variable, value in _variables(config, str(chosen), path).items():
        if name:
            environment[variable] = value
        else:
            environment.setdefault(variable, value)


def _read(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ProfileError(f"{path}: {reason}") from error


def _variables(config: Mapping[str, object], name: str, path: Path) -> dict[str, str]:
    profiles = config.get("profiles", {})
    profile = profiles.get(name) if isinstance(profiles, dict) else None
    if not isinstance(profile, dict):
        known = ", ".join(profiles) if isinstance(profiles, dict) and profiles else "none"
        raise ProfileError(f"{path} has no profile {name!r}; it has: {known}")
    unknown = set(profile) - set(KEYS)
    if unknown:
        raise ProfileError(
            f"{path}: profile {name!r} has {sorted(unknown)[0]!r}; known are {', '.join(KEYS)}"
        )
    return {KEYS[key]: _text(key, value) for key, value in profile.items()}


def _text(key: str, value: object) -> str:
    if key in _PATHS:
        return str(Path(str(value)).expanduser())
    return str(value).lower() if isinstance(value, bool) else str(value)
