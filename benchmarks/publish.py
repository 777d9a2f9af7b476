"""Publish a network of a benchmark: ``python -m benchmarks.publish resnet18 REPOSITORY``.

A process of its own, so that what measures does not hold torch.
"""

import sys
from pathlib import Path

from benchmarks import artifact, networks
from benchmarks.photos import BUNDLED

SIDE = 224


def main() -> None:
    """Publish torchvision's ResNet-18 or ResNet-50."""
    name, repository = sys.argv[1:]
    photos = [path.read_bytes() for path in sorted(BUNDLED.glob("*.jpg"))]
    network = networks.torchvision_resnet(name)
    artifact.publish(Path(repository), name, network, SIDE, photos)


if __name__ == "__main__":
    main()
