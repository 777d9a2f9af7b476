"""What happens to training photos only: per photo in the loader, per batch in the step."""

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2

from models.manifest import InputSpec
from trainer.data import TrainingImages
from trainer.recipe import AugmentSpec

Batch = tuple[Tensor, Tensor]


class AugmentedImages(Dataset[Batch]):
    """Training photos, augmented anew each time.

    Items are (uint8 [3, height, width], int64 []).
    """

    def __init__(self, source: TrainingImages, augment: AugmentSpec, spec: InputSpec) -> None:
        self._images = [image.permute(1, 2, 0).numpy() for image in source.images]
        self._labels = source.labels
        self._transform = photo_transform(augment, spec)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Batch:
        image: Tensor = self._transform(Image.fromarray(self._images[index]))
        return image, self._labels[index]


def photo_transform(augment: AugmentSpec, spec: InputSpec) -> v2.Transform:
    """From a PIL photo to uint8 [3, height, width]; PIL is three times faster than tensors here."""
    steps: list[v2.Transform] = [
        v2.RandomResizedCrop((spec.height, spec.width), scale=augment.crop_scale)
    ]
    if augment.flip:
        steps.append(v2.RandomHorizontalFlip())
    if augment.trivial:
        steps.append(v2.TrivialAugmentWide())
    steps.append(v2.PILToTensor())
    if augment.erasing > 0:
        steps.append(v2.RandomErasing(augment.erasing))
    return v2.Compose(steps)


def mix(images: Tensor, labels: Tensor, augment: AugmentSpec, classes: int) -> Batch:
    """Apply MixUp or CutMix, whichever is on (each half of the time when both are).

    Args:
        images: Float [b, 3, h, w].
        labels: int64 [b].
        augment: The recipe's section.
        classes: How many classes there are.

    Returns:
        Images, and labels as int64 [b] or, mixed, as float [b, classes].
    """
    mixers: list[v2.Transform] = []
    if augment.mixup_alpha > 0:
        mixers.append(v2.MixUp(alpha=augment.mixup_alpha, num_classes=classes))
    if augment.cutmix_alpha > 0:
        mixers.append(v2.CutMix(alpha=augment.cutmix_alpha, num_classes=classes))
    if not mixers:
        return images, labels
    mixer = mixers[int(torch.randint(len(mixers), ()))]
    mixed: Batch = mixer(images, labels)
    return mixed
