"""Every network a recipe can name, small where its size is free."""

from trainer.recipe import (
    NetworkSpec,
    ResNet9Spec,
    SmallResNetSpec,
    TorchvisionResNetSpec,
    Vgg16Spec,
)

SPECS: tuple[NetworkSpec, ...] = (
    SmallResNetSpec(name="resnet", depths=(1, 1), widths=(8, 16)),
    ResNet9Spec(name="resnet9"),
    Vgg16Spec(name="vgg16"),
    TorchvisionResNetSpec(name="resnet18"),
    TorchvisionResNetSpec(name="resnet34"),
    TorchvisionResNetSpec(name="resnet50"),
)


def name_of(spec: object) -> str:
    """The test id of a spec."""
    return str(getattr(spec, "name", ""))
