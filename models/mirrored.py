"""A mirror's cache as a model repository, for what follows it and for what is called by name."""

from pathlib import Path

from models.artifact import Artifact
from models.mirror import Mirror
from models.repository import ModelRepository


class FollowedMirror(ModelRepository):
    """What is in the cache, and why the rest is not.

    Args:
        root: The cache.
        public_key: PEM of whom to trust.
        mirror: Fills it.
    """

    def __init__(self, root: Path, public_key: Path | None, mirror: Mirror) -> None:
        super().__init__(root, public_key)
        self._mirror = mirror

    def models(self) -> list[str]:
        """As in any repository, and models of which every version was refused."""
        return sorted({*super().models(), *self._mirror.refused_models()})

    def misplaced(self, model: str) -> dict[int, str]:
        """As in any repository, and versions that were refused."""
        return {**super().misplaced(model), **self._mirror.refusals(model)}


class CalledMirror(FollowedMirror):
    """What is in the cache, and what the store has: that is fetched when it is read."""

    def versions(self, model: str) -> list[int]:
        """Versions here and in the store, oldest first."""
        listing = self._mirror.listing
        there = listing.versions.get(model, {}) if listing else {}
        return sorted({*super().versions(model), *there})

    def read(self, model: str, version: int) -> Artifact:
        """As of any repository, after fetching what is not here yet."""
        self._mirror.bring(model, version)
        return super().read(model, version)
