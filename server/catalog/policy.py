"""Which versions of a model are to be loaded. Knows numbers alone."""

import re
from collections.abc import Collection
from dataclasses import dataclass

LATEST = "latest"  # the label of the newest version that is READY
PATTERN = r"^(all|latest:[1-9][0-9]{0,3}|[1-9][0-9]{0,17}(,[1-9][0-9]{0,17})*)$"


@dataclass(frozen=True)
class VersionPolicy:
    """The newest ``latest`` versions, or those ``listed``; every version where neither is set."""

    latest: int | None = None
    listed: frozenset[int] | None = None

    def wanted(self, loadable: Collection[int], labelled: Collection[int] = ()) -> set[int]:
        """The versions to load.

        Args:
            loadable: Those that there are and that have not failed: for one that failed the
                next older one is taken.
            labelled: Those that a label points to; they are loaded beside the newest.
        """
        if self.listed is not None:
            return set(loadable) & self.listed
        if self.latest is None:
            return set(loadable)
        return set(sorted(loadable)[-self.latest :]) | (set(labelled) & set(loadable))


def parse_policy(text: str) -> VersionPolicy:
    """Read "latest:N", "all", or versions with commas between them.

    Raises:
        ValueError: It is none of them.
    """
    if not re.match(PATTERN, text, re.ASCII):
        raise ValueError(f"version policy must be latest:N, all, or versions as 1,4: {text!a}")
    if text == "all":
        return VersionPolicy()
    if text.startswith("latest:"):
        return VersionPolicy(latest=int(text.removeprefix("latest:")))
    return VersionPolicy(listed=frozenset(map(int, text.split(","))))
