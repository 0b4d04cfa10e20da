"""ZFNet: AlexNet with smaller filters and strides in front, without groups."""

from collections.abc import Sequence

from torch import nn

from striate.models.dense_head import DenseHeadNetwork, initialise_normal, local_response_norm
from striate.models.network import BatchNorm2d, check_eps, check_widths


class ZFNet(DenseHeadNetwork):
    """ZFNet (Zeiler, Fergus 2013, arXiv:1311.2901, Fig. 3).

    =======  ================================================  ====================
    layer    what                                              output, 224×224 in
    =======  ================================================  ====================
    conv1    7×7, 96, stride 2                                 96×110×110
    pool1    max 3×3, stride 2, contrast normalisation         96×55×55
    conv2    5×5, 256, stride 2                                256×26×26
    pool2    max 3×3, stride 2, contrast normalisation         256×13×13
    conv3    3×3, 384                                          384×13×13
    conv4    3×3, 384                                          384×13×13
    conv5    3×3, 256                                          256×13×13
    pool5    max 3×3, stride 2                                 256×6×6
    fc6      linear, dropout                                   4096
    fc7      linear, dropout                                   4096
    fc8      linear                                            K
    =======  ================================================  ====================

    ReLU after each but the last. For 3 channels and 1000 classes 62,357,608 parameters and 1,168,032,896 multiply-adds;
    107,627,624 and 2,476,704,896 with layers 3 to 5 of 512, 1024 and 512 maps (Table 2 (b)).

    Args:
        num_classes: K.
        in_channels: channels of the picture.
        widths: channels of the five convolutions; the paper's by default.
        pooled_size: side of the map that fc6 reads.
        hidden: units in fc6 and fc7.
        lrn: contrast normalisation after pool1 and pool2.
        batch_norm: before each activation, in place of the biases; not in the paper.
        batch_norm_eps: of that; 0.001 is usual in Keras.
        dropout: probability that a unit of fc6 or fc7 is left out.
        initialisation: "paper", weights N(0, 0.01²), biases 0; or "he", which fits inputs of deviation 1 better than
            the paper's, meant for pixels of about ±128.

    Input: at least 63×63; the pooling before fc6 changes nothing at the paper's size.

    Differs from the paper: it prints no padding; 1 in conv1, 0 in conv2 and pooling windows that may stand over (ceil
    mode) in pool1 and pool2 are what its map sizes need. It gives no numbers for its contrast normalisation across
    maps: here AlexNet's. It prints weights "initialised to 10⁻²", which can only be meant as a deviation. Its
    rescaling of filters to a root mean square of at most 0.1 belongs to the training.
    """

    paper_input = (3, 224, 224)
    smallest_side = 63

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        *,
        widths: Sequence[int] = (96, 256, 384, 384, 256),
        pooled_size: int = 6,
        hidden: int = 4096,
        lrn: bool = True,
        batch_norm: bool = False,
        batch_norm_eps: float = 1e-5,
        dropout: float = 0.5,
        initialisation: str = "paper",
    ):
        super().__init__(num_classes, in_channels, initialisation=initialisation)
        check_widths(widths, 5)
        check_eps(batch_norm_eps)
        eps = batch_norm_eps if batch_norm else None
        channels, stride = in_channels, 1
        geometry = ((7, 2, 1), (5, 2, 0), (3, 1, 1), (3, 1, 1), (3, 1, 1))  # kernel, stride, padding
        for number, (width, shape) in enumerate(zip(widths, geometry, strict=True), start=1):
            stride *= shape[1]
            modules = {
                f"conv{number}": nn.Conv2d(channels, width, *shape, bias=not batch_norm),
                f"bn{number}": None if eps is None else BatchNorm2d(width, eps),
                f"act{number}": self._activation(),
            }
            self._add_stage(f"conv{number}", width, stride, modules)
            if number in (1, 2, 5):
                stride *= 2
                norm = local_response_norm() if lrn and number < 5 else None
                pooling = {f"pool{number}": nn.MaxPool2d(3, 2, ceil_mode=number < 5), f"norm{number}": norm}
                self._add_stage(f"pool{number}", width, stride, pooling)
            channels = width
        self._add_head(pooled_size, hidden, dropout, eps)

    def _initialise_as_in_the_paper(self) -> None:
        initialise_normal(self, 0.01)
