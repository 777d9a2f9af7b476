"""Where the files of the models lie that everybody serves; they are made when first wanted."""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers import environments
from benchmarks.peers.catalogue import Served
from benchmarks.photos import write_photos
from benchmarks.processes import ROOT
from benchmarks.serving.scenarios import Scenario
from client.bench.photos import Photos, read_photos

NETWORKS = ("resnet18", "resnet50", "cats-vs-dogs")
BESIDE = "cats-vs-dogs"  # the second where two models share the machine
WORK = environments.folder("work")


def served(*networks: str) -> tuple[Served, ...]:
    """Return models, published in one repository; the first is the default."""
    folder = WORK / "+".join(networks)
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=WORK) as unfinished:
            for network in networks:
                command = [sys.executable, "-m", "benchmarks.publish", network, unfinished]
                subprocess.run(command, cwd=ROOT, check=True)
            shutil.copytree(unfinished, folder)
    return tuple(_served(folder, network) for network in networks)


def _served(folder: Path, network: str) -> Served:
    (model,) = (folder / "repository" / network).glob("*/model.pt")
    spec = json.loads((model.parent / "manifest.json").read_text(encoding="utf-8"))["input"]
    return Served(network, model, folder / f"{network}.pt2", spec["height"])


def photos_of(scenario: Scenario) -> Photos:
    """Return a scenario's photos."""
    return read_photos(str(path) for path in _written(scenario))


def album(scenario: Scenario) -> Path:
    """Return the folder of a scenario's photos."""
    return _written(scenario)[0].parent


def _written(scenario: Scenario) -> Sequence[Path]:
    folder = WORK / f"photos-{scenario.album}"
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=WORK) as unfinished:
            write_photos(Path(unfinished) / "photos", scenario.photo, scenario.photos)
            (Path(unfinished) / "photos").rename(folder)
    return sorted(folder.glob("*.jpg"))
