"""What others do, written as their users write it: torchvision, timm, albumentations, a bare PyTorch loop."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import torch
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

MEAN, STD = 0.5, 0.29


def endless(loader: Any) -> Iterator[Any]:
    """Batches of one epoch after another."""
    while True:
        yield from loader


def finish(channels: int) -> list[v2.Transform]:
    """From a PIL image to a normalised tensor."""
    return [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize([MEAN] * channels, [STD] * channels)]


def small_transform(size: int, channels: int) -> v2.Transform:
    """Crop after padding, flip, normalise. On PIL images, which is the faster way for small pictures."""
    return v2.Compose([v2.RandomCrop(size, padding=4), v2.RandomHorizontalFlip(), *finish(channels)])


def torchvision_arrays(dataset: Any, size: int, channels: int, batch_size: int) -> DataLoader:
    """A set in memory, crop + flip + normalise."""
    dataset.transform = small_transform(size, channels)
    return DataLoader(dataset, batch_size, shuffle=True, drop_last=True)


def torchvision_pictures(root: Path, size: int, batch_size: int) -> DataLoader:
    """ImageFolder with PIL, random resized crop + flip + normalise."""
    transform = v2.Compose([v2.RandomResizedCrop(size), v2.RandomHorizontalFlip(), *finish(3)])
    return DataLoader(ImageFolder(root, transform), batch_size, shuffle=True, drop_last=True)


def timm_loader(dataset: Any, size: int, channels: int, batch_size: int, **choices: Any) -> Any:
    """`create_loader` without colour jitter, so that it crops, flips and normalises like the others.

    Its prefetcher is on, as in timm's train.py: on the CPU too it collates bytes and normalises whole batches.
    """
    from timm.data import create_loader

    return create_loader(
        dataset, (channels, size, size), batch_size, is_training=True, color_jitter=None, num_workers=0,
        persistent_workers=False, device=torch.device("cpu"), mean=(MEAN,) * channels, std=(STD,) * channels, **choices,
    )  # fmt: skip


def timm_arrays(dataset: Any, size: int, channels: int, batch_size: int) -> Any:
    """timm has no crop after padding; what its users take for CIFAR is its resized crop with a narrow scale."""
    return timm_loader(dataset, size, channels, batch_size, scale=(0.8, 1.0), ratio=(1.0, 1.0))


def timm_pictures(root: Path, size: int, batch_size: int) -> Any:
    """`create_dataset` over class folders, with timm's default resized crop and flip."""
    from timm.data import create_dataset

    return timm_loader(create_dataset("", str(root)), size, 3, batch_size)


class Albumentations(Dataset):
    """Class folders read by OpenCV and augmented by albumentations."""

    def __init__(self, root: Path, size: int):
        import albumentations as A

        self.samples = ImageFolder(root).samples
        self.transform = A.Compose(
            [A.RandomResizedCrop((size, size)), A.HorizontalFlip(), A.Normalize([MEAN] * 3, [STD] * 3), A.ToTensorV2()]
        )

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        path, target = self.samples[index]
        image = cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB)
        return self.transform(image=image)["image"], target


def albumentations_pictures(root: Path, size: int, batch_size: int) -> DataLoader:
    """OpenCV and albumentations, random resized crop + flip + normalise."""
    return DataLoader(Albumentations(root, size), batch_size, shuffle=True, drop_last=True)


def bare_step(
    network: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    images: torch.Tensor,
    targets: torch.Tensor,
    precision: str,
) -> None:
    """One step of the plainest loop."""
    optimizer.zero_grad()
    with torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bf16-mixed"):
        # Of masks, 255 does not count; of pictures it may be a class.
        loss = functional.cross_entropy(network(images), targets, ignore_index=255 if targets.ndim == 3 else -100)
    loss.backward()
    optimizer.step()
