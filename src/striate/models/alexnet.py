"""AlexNet in two groups, as in 2012, and in one tower, as in 2014."""

from collections.abc import Sequence

from torch import nn

from striate.models.dense_head import DenseHeadNetwork, initialise_normal, local_response_norm
from striate.models.network import BatchNorm2d, check_choice, check_eps, check_widths

# Channels of the five convolutions, in two towers together and in one.
WIDTHS = {2: (96, 256, 384, 384, 256), 1: (64, 192, 384, 256, 256)}


class AlexNet(DenseHeadNetwork):
    """AlexNet (Krizhevsky, Sutskever, Hinton 2012, NIPS 25, sec. 3.5, Fig. 2).

    =======  ================================================  ====================
    layer    what                                              output, 227×227 in
    =======  ================================================  ====================
    conv1    11×11, 96, stride 4                               96×55×55
    pool1    response normalisation, max 3×3, stride 2         96×27×27
    conv2    5×5, 256, in two groups                           256×27×27
    pool2    response normalisation, max 3×3, stride 2         256×13×13
    conv3    3×3, 384, across the groups                       384×13×13
    conv4    3×3, 384, in two groups                           384×13×13
    conv5    3×3, 256, in two groups                           256×13×13
    pool5    max 3×3, stride 2                                 256×6×6
    fc6      linear, dropout                                   4096
    fc7      linear, dropout                                   4096
    fc8      linear                                            K
    =======  ================================================  ====================

    ReLU after each but the last; after conv1 and conv2 it comes before the response normalisation. The groups are the
    paper's two GPUs. For 3 channels and 1000 classes 60,965,224 parameters and 724,406,816 multiply-adds.

    One tower (Krizhevsky 2014, arXiv:1404.5997, as torchvision has it): widths 64-192-384-256-256, no groups, no
    response normalisation, padding 2 in conv1 for pictures of 224×224; 61,100,840 and 714,188,480.

    Args:
        num_classes: K.
        in_channels: channels of the picture.
        towers: 2 or 1.
        widths: channels of the five convolutions; those of the paper by default. Two towers need even ones.
        conv1_padding: 0 in two towers and 2 in one by default; 2 gives on 224×224 the maps that 0 gives on 227×227.
        pooled_size: side of the map that fc6 reads.
        hidden: units in fc6 and fc7.
        activation: "relu", or "tanh" with which the paper compares it (sec. 3.1).
        lrn: response normalisation after conv1 and conv2; in two towers by default.
        batch_norm: before each activation, in place of the biases; not in the paper.
        batch_norm_eps: of that; 0.001 is usual in Keras.
        dropout: probability that a unit of fc6 or fc7 is left out.
        initialisation: "paper", weights N(0, 0.01²) and biases 1 in conv2, conv4, conv5, fc6 and fc7, else 0 (sec. 5);
            or "he", which fits inputs of deviation 1 better than the paper's, meant for pixels of 0 to 255.

    Input: at least 67×67 in two towers (63×63 with a padding of 2); the pooling before fc6 changes nothing at the
    paper's size.

    Differs from the paper: pictures of 227×227, where it prints 224×224, with which conv1 does not come out at 55×55.
    """

    paper_input = (3, 227, 227)

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        *,
        towers: int = 2,
        widths: Sequence[int] | None = None,
        conv1_padding: int | None = None,
        pooled_size: int = 6,
        hidden: int = 4096,
        activation: str = "relu",
        lrn: bool | None = None,
        batch_norm: bool = False,
        batch_norm_eps: float = 1e-5,
        dropout: float = 0.5,
        initialisation: str = "paper",
    ):
        super().__init__(num_classes, in_channels, activation=activation, initialisation=initialisation)
        check_choice("towers", towers, WIDTHS)
        check_choice("conv1_padding", conv1_padding, (None, 0, 1, 2, 3, 4, 5))
        widths = WIDTHS[towers] if widths is None else widths
        check_widths(widths, 5)
        check_eps(batch_norm_eps)
        eps = batch_norm_eps if batch_norm else None
        if towers == 2 and any(width % 2 for width in widths):
            raise ValueError(f"widths must be even with towers=2; got {list(widths)}")
        if conv1_padding is None:
            conv1_padding = 0 if towers == 2 else 2
        lrn = towers == 2 if lrn is None else lrn
        self.smallest_side = 67 - 2 * conv1_padding
        channels, stride = in_channels, 4
        for number, (width, kernel) in enumerate(zip(widths, (11, 5, 3, 3, 3), strict=True), start=1):
            groups = towers if number in (2, 4, 5) else 1
            step, padding = (4, conv1_padding) if number == 1 else (1, kernel // 2)
            modules = {
                f"conv{number}": nn.Conv2d(channels, width, kernel, step, padding, groups=groups, bias=not batch_norm),
                f"bn{number}": None if eps is None else BatchNorm2d(width, eps),
                f"act{number}": self._activation(),
            }
            self._add_stage(f"conv{number}", width, stride, modules)
            if number in (1, 2, 5):
                stride *= 2
                norm = local_response_norm() if lrn and number < 5 else None
                pooling = {f"norm{number}": norm, f"pool{number}": nn.MaxPool2d(3, 2)}
                self._add_stage(f"pool{number}", width, stride, pooling)
            channels = width
        self._add_head(pooled_size, hidden, dropout, eps)

    def _initialise_as_in_the_paper(self) -> None:
        initialise_normal(self, 0.01)
        for name in ("conv2", "conv4", "conv5", "fc6", "fc7"):
            layer = self.get_submodule(name)
            if isinstance(layer.bias, nn.Parameter):  # batch norm takes its place
                nn.init.ones_(layer.bias)
