"""What happens to training photos only: per photo in the loader, per batch in the step."""

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2

from models.manifest import InputSpec
from trainer.data import TrainingImages
from trainer.recipe import AugmentSpec
from trainer.seeds import seed_of

Batch = tuple[Tensor, Tensor]


class AugmentedImages(Dataset[Batch]):
    """Training photos, augmented anew in each epoch.

    Items are (uint8 [3, side, side], int64 []), by (epoch, index): the same pair gives the
    same pixels, whichever worker draws it.
    """

    def __init__(
        self, source: TrainingImages, augment: AugmentSpec, spec: InputSpec, seed: int
    ) -> None:
        self._source = source
        self._transform = photo_transform(augment, spec)
        self._seed = seed

    def __len__(self) -> int:
        return len(self._source.images)

    def __getitem__(self, position: tuple[int, int]) -> Batch:
        epoch, index = position
        photo = Image.fromarray(self._source.images[index].permute(1, 2, 0).numpy())
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed_of(self._seed, epoch, index))
            image: Tensor = self._transform(photo)
        return image, self._source.labels[index]


def photo_transform(augment: AugmentSpec, spec: InputSpec) -> v2.Transform:
    """From a PIL photo to uint8 [3, side, side]; PIL is three times faster than tensors here."""
    side = augment.crop_side or spec.height
    steps: list[v2.Transform] = [v2.RandomResizedCrop((side, side), scale=augment.crop_scale)]
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
