"""VGG, configurations A to E, with and without batch normalisation."""

from collections.abc import Sequence
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from striate.models.dense_head import DenseHeadNetwork, local_response_norm
from striate.models.network import BatchNorm2d, check_choice, check_eps, check_widths

# Table 1 of the paper: kernel sizes of the convolutions, block by block.
CONFIGURATIONS = {
    "A": ((3,), (3,), (3, 3), (3, 3), (3, 3)),
    "A-LRN": ((3,), (3,), (3, 3), (3, 3), (3, 3)),
    "B": ((3, 3), (3, 3), (3, 3), (3, 3), (3, 3)),
    "C": ((3, 3), (3, 3), (3, 3, 1), (3, 3, 1), (3, 3, 1)),
    "D": ((3, 3), (3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3)),
    "E": ((3, 3), (3, 3), (3, 3, 3, 3), (3, 3, 3, 3), (3, 3, 3, 3)),
}


class Switches(NamedTuple):
    """What unpooling needs to know of one pooling: `F.max_unpool2d(y, indices, 2, output_size=size)`.

    Attributes:
        indices: where each maximum stood, as position in the flattened map before the pooling, (N, C, H, W) of int64.
        size: height and width of the map before the pooling.
    """

    indices: Tensor
    size: tuple[int, int]


class VGG(DenseHeadNetwork):
    """VGG (Simonyan, Zisserman 2014, arXiv:1409.1556, Table 1).

    =======  ============================  ====================
    layer    what                          output, 224×224 in
    =======  ============================  ====================
    conv1    1 or 2 convolutions, 64       64×224×224
    pool1    max 2×2                       64×112×112
    conv2    1 or 2 convolutions, 128      128×112×112
    pool2    max 2×2                       128×56×56
    conv3    2 to 4 convolutions, 256      256×56×56
    pool3    max 2×2                       256×28×28
    conv4    2 to 4 convolutions, 512      512×28×28
    pool4    max 2×2                       512×14×14
    conv5    2 to 4 convolutions, 512      512×14×14
    pool5    max 2×2                       512×7×7
    fc6      linear, dropout               4096
    fc7      linear, dropout               4096
    fc8      linear                        K
    =======  ============================  ====================

    The convolutions are conv1_1, conv1_2 … conv5_4, 3×3 but for the third of the blocks 3 to 5 in C, which is 1×1;
    `CONFIGURATIONS` lists them. ReLU after each layer but the last.

    =============  ======  ===========  ==============
    configuration  layers  parameters   mult-adds
    =============  ======  ===========  ==============
    A, A-LRN       11      132,863,336   7,609,090,048
    B              13      133,047,848  11,308,466,176
    C              16      133,638,952  11,770,888,192
    D              16      138,357,544  15,470,264,320
    E              19      143,667,240  19,632,062,464
    =============  ======  ===========  ==============

    (3 channels, 1000 classes, 224×224. Batch normalisation adds 2 parameters a channel.)

    Args:
        num_classes: K.
        in_channels: channels of the picture.
        configuration: "A", "A-LRN" (response normalisation after conv1_1), "B", "C", "D" or "E".
        batch_norm: after each convolution, before its activation; not in the paper. The biases stay, as in the weights
            of torchvision.
        batch_norm_eps: of that; 0.001 is usual in Keras.
        widths: channels of the convolutions of the five blocks; the paper's by default.
        pooled_size: side of the map that fc6 reads; 1 for pictures of 32×32.
        hidden: units in fc6 and fc7.
        dropout: probability that a unit of fc6 or fc7 is left out.
        ceil_mode: pooling windows may stand over, so that odd maps lose no row; the paper's maps are even.
        initialisation: "paper", Glorot and Bengio's, biases 0, which the paper found to make its pre-training with
            configuration A unnecessary (sec. 3.1); or "he", with which the deep ones start faster.

    Input: at least 32×32, any in ceil mode; the pooling before fc6 changes nothing at the paper's size.

    Differs from the paper: nothing that it prints. Dense evaluation is `convolutional.fully_convolutional`.
    """

    paper_input = (3, 224, 224)

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        *,
        configuration: str = "D",
        batch_norm: bool = False,
        batch_norm_eps: float = 1e-5,
        widths: Sequence[int] = (64, 128, 256, 512, 512),
        pooled_size: int = 7,
        hidden: int = 4096,
        dropout: float = 0.5,
        ceil_mode: bool = False,
        initialisation: str = "paper",
    ):
        super().__init__(num_classes, in_channels, initialisation=initialisation)
        check_choice("configuration", configuration, CONFIGURATIONS)
        check_widths(widths, 5)
        check_eps(batch_norm_eps)
        self.smallest_side = 1 if ceil_mode else 32
        channels = in_channels
        for block, (width, kernels) in enumerate(zip(widths, CONFIGURATIONS[configuration], strict=True), start=1):
            modules: dict[str, nn.Module | None] = {}
            for index, kernel in enumerate(kernels, start=1):
                modules[f"conv{block}_{index}"] = nn.Conv2d(channels, width, kernel, padding=kernel // 2)
                modules[f"bn{block}_{index}"] = BatchNorm2d(width, batch_norm_eps) if batch_norm else None
                modules[f"act{block}_{index}"] = self._activation()
                channels = width
            modules[f"norm{block}"] = local_response_norm() if block == 1 and configuration == "A-LRN" else None
            self._add_stage(f"conv{block}", width, 2 ** (block - 1), modules)
            pool = nn.MaxPool2d(2, ceil_mode=ceil_mode)
            self._add_stage(f"pool{block}", width, 2**block, {f"pool{block}": pool})
        self._add_head(pooled_size, hidden, dropout)
        self.rounds_up = ceil_mode

    def forward_with_indices(self, x: Tensor) -> tuple[dict[str, Tensor], dict[str, Switches]]:
        """The maps of all stages, as `forward_features` gives them, and the switches of the stages pool1 to pool5.

        For decoders that unpool (SegNet, DeconvNet), stage after stage from pool5 up.
        """
        self.check_input(x)
        features, switches = {}, {}
        for stage in self.feature_info:
            if stage.startswith("pool"):
                pool, size = getattr(self, stage), (x.shape[2], x.shape[3])
                x, indices = F.max_pool2d(x, pool.kernel_size, ceil_mode=pool.ceil_mode, return_indices=True)
                switches[stage] = Switches(indices, size)
            else:
                x = self.forward_stage(stage, x)
            features[stage] = x
        return features, switches

    def _initialise_as_in_the_paper(self) -> None:
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.xavier_uniform_(module.weight)
                assert module.bias is not None
                nn.init.zeros_(module.bias)
