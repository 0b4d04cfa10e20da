"""What all networks share that label pixels: a classifier as backbone, scores at the picture's size."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

import torch.nn.functional as F
from torch import Tensor, nn

from striate.models.convolutional import as_convolution
from striate.models.network import Network, check_count
from striate.models.upsampling import BilinearUpsampling

Backbone = Callable[..., Network] | Network


class SegmentationNetwork(Network):
    """Pictures (N, `in_channels`, H, W) in, logits (N, `num_classes`, H, W) of every pixel out, in every mode.

    A backbone is a classifier of the family, or what makes one when it is called with `num_classes` and `in_channels`.
    It loses its classifier and lives as `backbone`, so that weights of that classifier are loaded under its own names
    there; `feature_info` and `forward_features` are those of the backbone.

    Attributes:
        labels_pixels: tells these networks from classifiers.
        backbone: the body of a classifier; networks with an encoder of their own have none.
        class_layers: names of all layers whose shape depends on the classes, `classifier_name` among them.
        decoder_stages: stage name -> its modules, in order, where a decoder's layers do not follow one another as they
            were added, one a stage (`stages.stages_of`).
    """

    labels_pixels = True
    head = ()
    backbone: Network
    class_layers: tuple[str, ...] = ()
    decoder_stages: dict[str, tuple[str, ...]] = {}  # noqa: RUF012

    def _take_backbone(
        self, backbone: Backbone, *, dense: bool = False, change: Callable[[Network], None] | None = None
    ) -> Network:
        """Makes the backbone's body a part of the network; with `dense`, what leads to its classifier as convolutions.

        `change` may trade its strides for dilation before its `feature_info` is read.

        Raises:
            ValueError: it is no classifier of the family, or one for pictures of other channels.
        """
        if not isinstance(backbone, nn.Module) and callable(backbone):
            backbone = backbone(num_classes=self.num_classes, in_channels=self.in_channels)
        # Only where nothing but the modules of its stages makes the maps can the rest be taken away.
        in_a_line = getattr(type(backbone), "forward_features", None) is Network.forward_features
        if not isinstance(backbone, Network) or backbone.labels_pixels or not backbone.any_size or not in_a_line:
            raise ValueError(
                f"backbone must be a classifier whose stages of maps follow one another; got {type(backbone).__name__}"
            )
        if backbone.in_channels != self.in_channels:
            raise ValueError(
                f"backbone must be for pictures of {self.in_channels} channels; it is for {backbone.in_channels}"
            )
        self.backbone = behead(backbone, dense=dense)
        if change is not None:
            change(backbone)
        self.smallest_side = backbone.smallest_side if backbone.rounds_up else 1
        self.feature_info = {
            stage: replace(info, modules=tuple(f"backbone.{name}" for name in info.modules))
            for stage, info in backbone.feature_info.items()
        }
        return backbone

    def forward_stage(self, stage: str, x: Tensor) -> Tensor:
        return self.backbone.forward_stage(stage, x)

    def maps(self, x: Tensor, stages: Collection[str]) -> dict[str, Tensor]:
        """The maps of some stages of the backbone, the last among them: ceil(side / stride) units.

        Where the backbone leaves rows out of sides that its strides do not divide, the picture is padded by zeros below
        and on the right.

        Raises:
            ValueError: the backbone's layers do not pad, so that its maps are too small to label all pixels.
        """
        self.check_input(x)
        size, found = tuple(x.shape[2:]), {}
        if not self.backbone.rounds_up:
            stride = self.feature_info[self.last_stage].stride
            x = F.pad(x, (0, -size[1] % stride, 0, -size[0] % stride))
        for stage, info in self.backbone.feature_info.items():
            x = self.backbone.forward_stage(stage, x)
            if stage not in stages:
                continue
            expected = tuple(-(-side // info.stride) for side in size)
            if any(have < needed for have, needed in zip(x.shape[2:], expected, strict=True)):
                raise ValueError(
                    f"the map {stage} of {type(self.backbone).__name__} has {times(x.shape[2:])} units and must have "
                    f"{times(expected)} for {times(size)} pixels: choose a backbone whose layers pad"
                )
            found[stage] = x[:, :, : expected[0], : expected[1]]
        return found

    @property
    def last_stage(self) -> str:
        return list(self.feature_info)[-1]

    def stage_at(self, stride: int) -> str:
        """The last stage of a stride.

        Raises:
            ValueError: there is none.
        """
        for stage, info in reversed(self.feature_info.items()):
            if info.stride == stride:
                return stage
        own, kind = sorted({info.stride for info in self.feature_info.values()}), type(self.backbone).__name__
        raise ValueError(f"{type(self).__name__} needs a map at stride {stride}; {kind} has strides {own}")

    def reset_classifier(self, num_classes: int) -> None:
        """Puts new layers for `num_classes` in the place of all whose shape depends on the classes."""
        check_count("num_classes", num_classes)
        for name in self.class_layers:
            old = self.get_submodule(name)
            assert isinstance(old, (nn.Conv2d, BilinearUpsampling))
            fresh: nn.Module
            if isinstance(old, BilinearUpsampling):
                learned, grouped = old.weight.requires_grad, old.groups > 1
                fresh = BilinearUpsampling(num_classes, old.stride[0], learned=learned, grouped=grouped)
            else:
                fresh = nn.Conv2d(
                    old.in_channels, num_classes, old.kernel_size[0], padding=old.padding[0],
                    dilation=old.dilation[0], bias=old.bias is not None,
                )  # fmt: skip
                self._initialise_scores(fresh)
            self.set_submodule(name, fresh.to(old.weight).train(old.training))
        self.num_classes = num_classes

    def _initialise(self) -> None:
        """He et al. 2015 for all layers that are not the backbone's, and scores that start small."""
        for name, module in self.named_modules():
            own = name.partition(".")[0] != "backbone" and not isinstance(module, BilinearUpsampling)
            if own and isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                initialise_convolution(module)
        for name in self.class_layers:
            if isinstance(layer := self.get_submodule(name), nn.Conv2d):
                self._initialise_scores(layer)

    def _initialise_scores(self, layer: nn.Conv2d) -> None:
        nn.init.normal_(layer.weight, std=0.01)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def times(sizes: Sequence[int]) -> str:
    return "×".join(map(str, sizes))


def initialise_convolution(layer: nn.Conv2d | nn.ConvTranspose2d) -> None:
    """Weights N(0, 2 / fan-in), biases 0; a unit behind a transposed convolution sees kernel / stride of the kernel."""
    fan_in = layer.in_channels // layer.groups
    for kernel, stride in zip(layer.kernel_size, layer.stride, strict=True):
        fan_in *= max(1, kernel // stride) if isinstance(layer, nn.ConvTranspose2d) else kernel
    nn.init.normal_(layer.weight, std=(2 / fan_in) ** 0.5)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def behead(network: Network, *, dense: bool = False) -> Network:
    """Takes the classifier and the auxiliary heads away from a network, and all else behind its last map.

    Args:
        network: changed in place.
        dense: keeps the layers between the last map and the classifier; dense ones become convolutions over the units
            that they read. They are then the network's `head`; the pooling before them falls away.

    Raises:
        ValueError: a network that does more there than its `head` can say.
    """
    *_, last = network.feature_info.values()
    kept: list[str] = []
    if dense and not all(hasattr(network, name) for name in (network.head or (network.classifier_name,))):
        raise ValueError(f"{type(network).__name__} does not end on pooling and dense layers in a line")
    channels = last.channels
    for name in network.head if dense else ():
        module = getattr(network, name)
        if name == network.classifier_name or isinstance(module, nn.AdaptiveAvgPool2d):
            continue
        if isinstance(module, nn.Linear):
            setattr(network, name, as_convolution(module, channels))
            channels = module.out_features
        elif isinstance(module, nn.BatchNorm1d):
            raise ValueError(f"{type(network).__name__} with batch norm between dense layers has no convolutional form")
        kept.append(name)
    stages = {name.partition(".")[0] for info in network.feature_info.values() for name in info.modules}
    removed = [name for name, _ in network.named_children() if name not in stages and name not in kept]
    for name in removed:
        delattr(network, name)
    network.classifier_name, network.optional_weights = "", tuple(f"{name}.*" for name in removed)
    network.head, network.num_features, network.any_size = tuple(kept), channels, True
    network.auxiliary_classifiers, network.auxiliary_weights = (), ()
    return network


def conv_norm_act(
    in_channels: int, out_channels: int, kernel: int, *, dilation: int = 1, norm: type[nn.Module]
) -> nn.Sequential:
    """Convolution without biases that keeps the size, batch norm, ReLU."""
    padding = dilation * (kernel - 1) // 2
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, padding=padding, dilation=dilation, bias=False),
        norm(out_channels),
        nn.ReLU(inplace=True),
    )
