"""Augmentation: pure functions of (pictures, keys), behind one interface, with three back ends.

`arrays`, `warps` and `colours` are ours (whole batches, or one picture at a time), `albumentations_backend` and
`torchvision_backend` take the transforms of these libraries. Neither library is imported before it is used.
"""

from striate.data.augmentation.albumentations_backend import Albumentations
from striate.data.augmentation.arrays import BrightnessContrast, Cutout, HorizontalFlip, PadAndCrop, RandomErasing
from striate.data.augmentation.base import Augmentation, CentreView, Images, Masks, Pipeline, as_batch, as_masks
from striate.data.augmentation.colours import PrincipalColours, PrincipalColourShift
from striate.data.augmentation.scaling import ScaleAndCrop
from striate.data.augmentation.torchvision_backend import Torchvision
from striate.data.augmentation.warps import RandomAffine, RandomResizedCrop, RescaledCrop

__all__ = [
    "Albumentations",
    "Augmentation",
    "BrightnessContrast",
    "CentreView",
    "Cutout",
    "HorizontalFlip",
    "Images",
    "Masks",
    "PadAndCrop",
    "Pipeline",
    "PrincipalColourShift",
    "PrincipalColours",
    "RandomAffine",
    "RandomErasing",
    "RandomResizedCrop",
    "RescaledCrop",
    "ScaleAndCrop",
    "Torchvision",
    "as_batch",
    "as_masks",
]
