"""Whatever operators and the repository do in whatever order, the catalog is as a few lines say.

A short run by default; ``MENAGERIE_EXAMPLES=300 python -m pytest THIS_FILE`` is a long one.
"""

import asyncio
import os
import shutil
import tempfile
from collections.abc import Collection, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from models.image_header import ImageLimits
from server.catalog.entry import Selection, State
from server.catalog.policy import VersionPolicy
from server.catalog.routes import Share
from server.errors import (
    LoadFailedError,
    NotFoundError,
    NotReadyError,
    PreconditionError,
    ServingError,
)
from server.pipeline.decode import DecodePool
from tests.artifacts import TINY_NAME, publish_tiny_artifact
from tests.unit.server.catalog.conftest import World, world_in

MOST_FILES = 3
LATEST = VersionPolicy(latest=1)
ALL_VERSIONS = range(1, MOST_FILES + 2)
VERSIONS = st.sampled_from(ALL_VERSIONS)
SHARES = st.sampled_from([0.0, 1.0])
POLICIES = st.one_of(
    st.builds(VersionPolicy, latest=st.integers(1, 3)),
    st.just(VersionPolicy()),
    st.builds(VersionPolicy, listed=st.frozensets(VERSIONS, min_size=1, max_size=2)),
)


@dataclass
class Reference:
    """The catalog in a few lines.

    Attributes:
        files: By version, whether they are whole.
        failed: Versions that were tried and are not tried again.
    """

    files: dict[int, bool] = field(default_factory=dict)
    failed: set[int] = field(default_factory=set)
    ready: set[int] = field(default_factory=set)
    labels: dict[str, int] = field(default_factory=dict)
    held: set[int] = field(default_factory=set)
    canary: Share | None = None
    shadow: Share | None = None
    policy: VersionPolicy = LATEST

    @property
    def tried(self) -> set[int]:
        return {share.version for share in (self.canary, self.shadow) if share}

    @property
    def default(self) -> int | None:
        return max(self.ready - self.held - self.tried or self.ready, default=None)

    def wanted(self) -> set[int]:
        loadable = self.files.keys() - self.failed
        in_use = {*self.labels.values(), *self.tried}
        if self.tried:
            in_use.add(self.default or 0)
        return self.policy.wanted(loadable - self.held or loadable, in_use) | (in_use & loadable)

    def look(self) -> None:
        self.failed &= self.files.keys()
        while missing := self.wanted() - self.ready:
            (self.ready if self.files[max(missing)] else self.failed).add(max(missing))
        wanted = self.wanted()
        for version in self.ready - wanted if wanted & self.ready else ():
            self.leave(version)

    def leave(self, version: int) -> None:
        self.ready = self.ready - {version}
        self.labels = {label: to for label, to in self.labels.items() if to != version}
        self.canary = None if self.canary and self.canary.version == version else self.canary
        self.shadow = None if self.shadow and self.shadow.version == version else self.shadow


class Machine(RuleBasedStateMachine):
    """Does the same to both and compares."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.root = Path(tempfile.mkdtemp())
        self.reference = Reference()
        self.world: World = self.run(self._make())

    async def _make(self) -> World:
        self.decoder = DecodePool(1, 64, ImageLimits())
        return world_in(self.root, self.decoder, explicit=True)

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    def teardown(self) -> None:
        self.run(self.world.catalog.drain())
        self.decoder.close()
        self.runner.close()
        shutil.rmtree(self.root)

    @initialize()
    def begin(self) -> None:
        for version in (1, 2):
            self.publish(whole=True)
            self.run(self.world.control.load(TINY_NAME, version))
            self.reference.ready.add(version)

    @precondition(lambda self: len(self.reference.files) < MOST_FILES)
    @rule(whole=st.sampled_from([True, True, False]))
    def publish(self, whole: bool) -> None:
        version = publish_tiny_artifact(self.root)
        if not whole:
            (self.root / TINY_NAME / str(version) / "golden.npz").write_bytes(b"damaged")
        self.reference.files[version] = whole
        self.reference.failed.discard(version)

    @precondition(lambda self: self.reference.files)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        version = data.draw(st.sampled_from(sorted(self.reference.files)))
        shutil.rmtree(self.root / TINY_NAME / str(version))
        del self.reference.files[version]

    @rule()
    def look(self) -> None:
        self.run(self.world.follower.look())
        if self.reference.files:
            self.reference.look()

    @rule(policy=POLICIES)
    def change_policy(self, policy: VersionPolicy) -> None:
        self.world.policy = self.reference.policy = policy

    @rule(data=st.data())
    def load(self, data: st.DataObject) -> None:
        version = self.some_version(data, self.reference.files)
        there, is_ready = self.reference.files, version in self.reference.ready
        expected = None
        if version not in there:
            expected = NotFoundError
        elif not there[version] and not is_ready:
            expected = LoadFailedError
        self.call(self.world.control.load(TINY_NAME, version), expected)
        if expected is None:
            self.reference.ready.add(version)

    @rule(data=st.data())
    def unload(self, data: st.DataObject) -> None:
        version = self.some_version(data, self.reference.ready)
        is_known = version in self.world.catalog.versions(TINY_NAME)
        self.call(
            self.world.control.unload(TINY_NAME, version), None if is_known else NotFoundError
        )
        if version in self.reference.ready:
            self.reference.leave(version)

    @rule(label=st.sampled_from(["stable", "next"]), data=st.data())
    def label(self, label: str, data: st.DataObject) -> None:
        version = self.some_version(data, self.reference.ready)
        self.set(lambda: self.world.control.set_label(TINY_NAME, label, version), version)
        if version in self.reference.ready:
            self.reference.labels[label] = version

    @rule(data=st.data(), share=SHARES)
    def canary(self, data: st.DataObject, share: float) -> None:
        version = self.some_version(data, self.reference.ready)
        control = self.world.control
        if self.set(lambda: control.set_canary(TINY_NAME, version, share), version, share):
            self.reference.canary = Share(version, share) if share else None
            if share:
                self.reference.held.discard(version)

    @rule(data=st.data(), share=SHARES)
    def shadow(self, data: st.DataObject, share: float) -> None:
        version = self.some_version(data, self.reference.ready)
        control = self.world.control
        if self.set(lambda: control.set_shadow(TINY_NAME, version, share), version, share):
            self.reference.shadow = Share(version, share) if share else None

    @rule()
    def roll_back(self) -> None:
        reference, expected = self.reference, None
        left, target = reference.default, None
        if left is None:
            expected = NotFoundError
        elif reference.canary is None:
            here = {version for version in reference.ready - reference.held if version < left}
            there = {version for version in reference.files if version < left} - reference.held
            target = max(here or there, default=None)
            if not here and not reference.files:
                expected = NotFoundError
            elif target is None:
                expected = PreconditionError
            elif not here and not reference.files[target]:
                expected = LoadFailedError
        self.call(self.world.control.roll_back(TINY_NAME), expected)
        if expected is not None or left is None:
            return
        if reference.canary is not None:
            reference.held.add(reference.canary.version)
            reference.canary = None
        elif target is not None:
            reference.ready.add(target)
            reference.held.add(left)

    def some_version(self, data: st.DataObject, likely: Collection[int]) -> int:
        """One for which there is something to do, and now and then any."""
        return data.draw(st.sampled_from([*sorted(likely)] * 3 + [*ALL_VERSIONS]))

    def call(self, work: Coroutine[Any, Any, Any], expected: type[Exception] | None) -> None:
        if expected is None:
            self.run(work)
            return
        with pytest.raises(expected):
            self.run(work)

    def set(self, change: Any, version: int, share: float = 0.0) -> bool:
        """Whether what needs a READY version, and for a trial another one, was done."""
        is_alone = share > 0 and self.reference.ready == {version}
        if version in self.reference.ready and not is_alone:
            change()
            return True
        with pytest.raises((NotFoundError, PreconditionError)):
            change()
        return False

    @invariant()
    def is_as_the_reference_says(self) -> None:
        catalog, reference = self.world.catalog, self.reference
        assert set(catalog.ready(TINY_NAME)) == reference.ready
        route = catalog.route(TINY_NAME)
        assert (route.labels, route.held_back) == (reference.labels, reference.held)
        assert (route.canary, route.shadow) == (reference.canary, reference.shadow)
        for entry in catalog.versions(TINY_NAME).values():
            assert (entry.servable is not None) == (entry.state is State.READY)
            assert bool(entry.reason) == (entry.state is State.FAILED)

    @invariant()
    def requests_get_what_they_are_due(self) -> None:
        catalog, reference = self.world.catalog, self.reference
        if reference.default is None:
            with pytest.raises((NotFoundError, NotReadyError)):
                catalog.servable(Selection())
            return
        due = reference.canary.version if reference.canary else reference.default
        assert self.run(self.world.classify())[0] == due
        assert catalog.servable(Selection(), in_turn=False).manifest.version == reference.default
        copy = catalog.shadow_of(TINY_NAME, due)
        shadowed = reference.shadow.version if reference.shadow else due
        assert (copy.manifest.version if copy else due) == shadowed
        for label, version in reference.labels.items():
            assert catalog.servable(Selection(label=label)).manifest.version == version
        for version in set(ALL_VERSIONS) - reference.ready:
            with pytest.raises(ServingError):
                catalog.servable(Selection(version=str(version)))


TestMachine = Machine.TestCase
TestMachine.settings = settings(
    max_examples=int(os.environ.get("MENAGERIE_EXAMPLES", "6")),
    stateful_step_count=20,
    deadline=None,
    # Each step loads models: to make a failure shorter takes longer than to read it.
    phases=[Phase.reuse, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
