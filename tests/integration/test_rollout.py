"""Replicas that come and go behind a name, under load: no call fails."""

import json
import subprocess
import sys
from shutil import which

import pytest

from tests.integration.conftest import ROOT
from tests.load.cluster import UNSHARE


def may_unshare() -> bool:
    return (
        which("unshare") is not None
        and not subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode
    )


@pytest.mark.timeout(300)
@pytest.mark.skipif(not may_unshare(), reason="network namespaces need root")
def test_killing_one_adding_one_and_rolling_all_fails_no_call(tiny_repository: str) -> None:
    ended = subprocess.run(
        [*UNSHARE, sys.executable, "-m", "tests.load.rollout", tiny_repository],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=280,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    drill = json.loads(ended.stdout.splitlines()[-1])
    assert drill["failures"] == {}
    assert drill["calls"] > 200
    assert drill["new_replica_share_s"] <= 60
    assert drill["exit_codes"] == [0, 0, 0]
    for spread in (drill["first_spread"], drill["last_spread"]):
        assert len(spread) == 3
        assert all(count > 0 for count in spread.values())
