"""What SegNet and DeconvNet share: the switches of a VGG, and its layers mirrored."""

from dataclasses import dataclass

from torch import Tensor, nn

from striate.models.network import Network
from striate.models.upsampling import unpool
from striate.models.vgg import VGG, Switches


@dataclass(frozen=True)
class Mirrored:
    """A convolution of an encoder as its decoder has it.

    Attributes:
        name: in the encoder.
        inputs: its output channels there.
        outputs: its input channels there.
        kernel: side of the kernel.
    """

    name: str
    inputs: int
    outputs: int
    kernel: int


def require_switches(backbone: Network, kind: str) -> VGG:
    """The backbone, where it gives pooling indices.

    Raises:
        ValueError: it does not, or its windows leave rows out.
    """
    if not isinstance(backbone, VGG):
        raise ValueError(
            f"{kind} puts maxima back at their places and needs the pooling indices of a VGG; "
            f"{type(backbone).__name__} gives none"
        )
    if not backbone.rounds_up:
        raise ValueError(f"{kind} needs a VGG whose pooling windows leave no row out: ceil_mode=true; got false")
    return backbone


def mirrored_layers(backbone: VGG) -> dict[str, list[Mirrored]]:
    """The convolutions of every block, by its pooling, in the order of a decoder: from the last to the first."""
    blocks: dict[str, list[Mirrored]] = {}
    for stage, info in reversed(backbone.feature_info.items()):
        convolutions = [(name, getattr(backbone, name)) for name in info.modules]
        layers = [
            Mirrored(name, layer.out_channels, layer.in_channels, layer.kernel_size[0])
            for name, layer in reversed(convolutions)
            if isinstance(layer, nn.Conv2d)
        ]
        if layers:
            blocks[stage.replace("conv", "pool")] = layers
    return blocks


def unpool_as(x: Tensor, switches: Switches) -> Tensor:
    return unpool(x, switches.indices, switches.size)
