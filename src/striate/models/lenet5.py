"""LeNet-5 as in 1998, and the form it is usually given today."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from striate.models.network import FeatureInfo, Network, check_choice, check_count, initialise_he

# Table I of the paper: the maps of S2 that each map of C3 reads, 60 of 96 pairs.
C3_TABLE = (
    *((0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5)),
    *((0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5)),
    *((0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5)),
    (0, 1, 2, 3, 4, 5),
)

# Fig. 3 of the paper, the digits: 7×12 pixels each, ink = +1. The public transcriptions of the figure that were found
# agree to the bit (they may have one origin); implementations with other bitmaps draw digits of their own.
DIGITS = """
    .#####. ...##.. .#####. ####### .#####. .#####. ..####. ####### .#####. .#####.
    ....... ..###.. ....... .....## ....... ....... .##.... .....## ##...## ##..###
    ..###.. .####.. .#####. ....##. ....... ####### ##..... .....## ##...## ##...##
    .##.##. ...##.. ##...## ...##.. .##..## ##..... ##..... ....##. ##...## ##...##
    ##...## ...##.. #....## ..####. .##..## ##..... ######. ...##.. .#####. ##..###
    ##...## ...##.. ....##. .....## ###..## .####.. ###..## ...##.. ##...## .######
    ##...## ...##.. ..###.. .....## ##...## ..####. ##...## ..##... ##...## .....##
    ##...## ...##.. .##.... .....## ##...## .....## ##...## ..##... ##...## .....##
    .##.##. ...##.. ##..... ##...## ##..### ##...## ###..## ..##... ##...## ....##.
    ..###.. .###### ####### .#####. .###### .#####. .#####. ..##... .#####. .####..
    ....... ....... ....... ....... .....## ....... ....... ....... ....... .......
    ....... ....... ....... ....... .....## ....... ....... ....... ....... .......
"""


def output_codes(num_classes: int) -> Tensor:
    """The fixed centres of the output units, (K, 84) of ±1.

    Ten classes get the paper's bitmaps of the digits. Any other number gets the rows of the Hadamard matrix of order 84
    (Paley's construction over the field of 83 elements), then their negatives: any two codes differ in 42 or all 84
    places, an error-correcting code as the paper mentions beside its bitmaps. A pure function of `num_classes`.

    Raises:
        ValueError: for more than 168 classes; no more than 168 words of 84 bits differ pairwise in 42 places (Plotkin).
    """
    if num_classes == 10:
        bitmaps = ["".join(row) for row in zip(*(line.split() for line in DIGITS.strip().splitlines()), strict=True)]
        return torch.tensor([[1.0 if pixel == "#" else -1.0 for pixel in bitmap] for bitmap in bitmaps])
    if num_classes > 168:
        raise ValueError(f"num_classes must be 1 to 168 with form='original', any with 'modern'; got {num_classes}")
    squares = {i * i % 83 for i in range(1, 83)}
    hadamard = [[1.0] * 84]
    for i in range(83):
        hadamard.append([-1.0] + [1.0 if i == j or (j - i) % 83 in squares else -1.0 for j in range(83)])
    return torch.tensor((hadamard + [[-bit for bit in row] for row in hadamard])[:num_classes])


class ScaledTanh(nn.Module):
    """1.7159 tanh(2x/3), so that ±1 are fixed points and lie where its curvature is largest (appendix A)."""

    def forward(self, x: Tensor) -> Tensor:
        return 1.7159 * torch.tanh(x * (2 / 3))


class Subsampling(nn.Module):
    """S2, S4: sum of 2×2 inputs × trainable coefficient + trainable bias, squashed. (N, C, H, W) → (N, C, H/2, W/2)."""

    kernel_size = stride = 2

    def __init__(self, channels: int):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.empty(channels)), nn.Parameter(torch.empty(channels))
        self.groups, self.squash = channels, ScaledTanh()

    def forward(self, x: Tensor) -> Tensor:
        sums = 4 * F.avg_pool2d(x, 2)
        return self.squash(sums * self.weight.view(-1, 1, 1) + self.bias.view(-1, 1, 1))


class PartialConv2d(nn.Module):
    """C3: a convolution in which each output map reads only the input maps that `table` gives it.

    Stores only the kernels that exist. Each pass lays them out in a dense kernel with zeros: ten times as fast on a CPU
    as grouped convolutions of gathered maps.
    """

    def __init__(self, in_channels: int, table: tuple[tuple[int, ...], ...], kernel_size: int):
        super().__init__()
        self.in_channels, self.table, self.kernel_size, self.stride = in_channels, table, kernel_size, 1
        pairs = [out * in_channels + source for out, sources in enumerate(table) for source in sources]
        self.weight = nn.Parameter(torch.empty(len(pairs), kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.empty(len(table)))
        self.register_buffer("pairs", torch.tensor(pairs))
        self.pairs: Tensor

    def forward(self, x: Tensor) -> Tensor:
        dense = self.weight.new_zeros(len(self.table) * self.in_channels, self.kernel_size**2)
        dense = dense.index_copy(0, self.pairs, self.weight.flatten(1))
        return F.conv2d(x, dense.view(len(self.table), self.in_channels, self.kernel_size, -1), self.bias)

    def mult_adds(self, input: Tensor, output: Tensor) -> int:
        """Products with the stored kernels, for one picture: what the paper's network computes."""
        return self.weight.numel() * output[0, 0].numel()


class EuclideanRBF(nn.Module):
    """Minus the squared distance of F6 to each class's fixed code: (N, 84) → logits (N, K).

    The codes all have the same length, so softmax cross entropy of these logits is the paper's discriminative (MAP)
    criterion, eq. 9, but for its constant j, which keeps trainable codes from collapsing; these are fixed.
    """

    def __init__(self, num_classes: int):
        super().__init__()
        self.register_buffer("codes", output_codes(num_classes))
        self.codes: Tensor

    def forward(self, x: Tensor) -> Tensor:
        return -(x.unsqueeze(1) - self.codes).square().sum(2)

    def mult_adds(self, input: Tensor, output: Tensor) -> int:
        return 0  # squared differences are not products with weights: the rule leaves them out


class LeNet5(Network):
    """LeNet-5 (LeCun, Bottou, Bengio, Haffner 1998, Proc. IEEE 86(11), sec. II-B).

    ======  =====================================  ================================  ============
    layer   form="original"                        form="modern"                     output shape
    ======  =====================================  ================================  ============
    C1      conv 5×5, scaled tanh                  conv 5×5, activation              6×28×28
    S2      trainable subsampling, scaled tanh     max or average pooling 2×2        6×14×14
    C3      conv 5×5, 60 of 96 pairs, scaled tanh  conv 5×5, activation              16×10×10
    S4      trainable subsampling, scaled tanh     max or average pooling 2×2        16×5×5
    C5      conv 5×5, scaled tanh                  linear, activation                120
    F6      linear, scaled tanh                    linear, activation                84
    output  distance to fixed codes of ±1          linear                            K
    ======  =====================================  ================================  ============

    For 1 channel and 10 classes 60,000 parameters and 325,680 multiply-adds in the original form (340,908
    connections, as printed), 61,706 and 416,520 in the modern one.

    Args:
        num_classes: K; the original form takes 1 to 168, since its output codes are fixed (`output_codes`).
        in_channels: channels of the picture; only C1 depends on them.
        form: "original" or "modern".
        pooling: "max" (default) or "average"; modern form only.
        activation: "relu" (default) or "tanh"; modern form only.

    Input: 32×32, or 28×28, which is padded by 2 on each side, by its own border in the original form (the paper's field
    goes on with the background, whatever its value) and by zeros in the modern one.

    Differs from the paper: returns minus the distances, so that the largest output wins as in any other classifier; the
    paper's mean squared error and its constant j belong to the loss. Takes other numbers of channels and classes, as
    other data have them; with classes other than ten the codes are not bitmaps, which would mean nothing.
    """

    paper_input = (1, 32, 32)
    any_size = False
    classifier_name = "output"
    num_features = 84
    activation: nn.Module
    S2: nn.Module
    C3: nn.Module
    S4: nn.Module
    C5: nn.Module
    output: nn.Module

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 1,
        *,
        form: str = "original",
        pooling: str | None = None,
        activation: str | None = None,
    ):
        super().__init__(num_classes, in_channels)
        check_choice("form", form, ("original", "modern"))
        check_choice("pooling", pooling, (None, "max", "average"))
        check_choice("activation", activation, (None, "relu", "tanh"))
        if form == "original" and (pooling or activation):
            raise ValueError(
                "pooling and activation are options of form='modern'; form='original' has those of the paper"
            )
        self.form = form
        self.C1 = nn.Conv2d(in_channels, 6, 5)
        if form == "original":
            self.activation = ScaledTanh()
            self.S2, self.S4 = Subsampling(6), Subsampling(16)
            self.C3, self.C5 = PartialConv2d(6, C3_TABLE, 5), nn.Conv2d(16, 120, 5)
        else:
            self.activation = nn.Tanh() if activation == "tanh" else nn.ReLU()
            self.S2, self.S4 = (nn.AvgPool2d(2) if pooling == "average" else nn.MaxPool2d(2) for _ in range(2))
            self.C3, self.C5 = nn.Conv2d(6, 16, 5), nn.Linear(400, 120)
        self.head = () if form == "original" else ("C5", "activation", "F6", "activation", "output")
        self.F6 = nn.Linear(120, 84)
        self.output = EuclideanRBF(num_classes) if form == "original" else nn.Linear(84, num_classes)
        self.feature_info = {
            "C1": FeatureInfo(6, 1, ("C1",)),
            "S2": FeatureInfo(6, 2, ("S2",)),
            "C3": FeatureInfo(16, 2, ("C3",)),
            "S4": FeatureInfo(16, 4, ("S4",)),
        }
        if form == "original":
            self._initialise()
        else:
            initialise_he(self, "tanh" if activation == "tanh" else "relu")

    def _initialise(self) -> None:
        """Uniform in ±2.4 / fan-in (appendix A), the fan-in being the inputs of one unit."""
        for name, fan_in in {"C1": 25 * self.in_channels, "S2": 4, "S4": 4, "C5": 400, "F6": 120}.items():
            for parameter in self.get_submodule(name).parameters():
                nn.init.uniform_(parameter, -2.4 / fan_in, 2.4 / fan_in)
        kernels = self.get_parameter("C3.weight").detach().split([len(sources) for sources in C3_TABLE])
        for kernel, bias in zip(kernels, self.get_parameter("C3.bias").detach().split(1), strict=True):
            for part in (kernel, bias):
                nn.init.uniform_(part, -2.4 / (25 * len(kernel)), 2.4 / (25 * len(kernel)))

    def forward_stage(self, stage: str, x: Tensor) -> Tensor:
        x = getattr(self, stage)(self._to_field(x) if stage == "C1" else x)
        return self.activation(x) if stage in ("C1", "C3") else x

    def forward_head(self, x: Tensor) -> Tensor:
        if self.form == "modern":
            return super().forward_head(x)
        x = self.activation(self.C5(x)).flatten(1)
        return self.output(self.activation(self.F6(x)))

    def _to_field(self, x: Tensor) -> Tensor:
        if x.shape[2:] == (28, 28):
            return F.pad(x, (2, 2, 2, 2), mode="replicate" if self.form == "original" else "constant")
        return x

    def check_input(self, x: Tensor) -> None:
        super().check_input(x)
        if not self.any_size and x.shape[2:] not in ((28, 28), (32, 32)):
            raise ValueError(f"LeNet-5 takes pictures of 32×32 or 28×28; got {x.shape[2]}×{x.shape[3]}")

    def reset_classifier(self, num_classes: int) -> None:
        """Puts the codes (original) or a new linear layer (modern) for `num_classes` in the place of the old output."""
        if self.form == "modern":
            return super().reset_classifier(num_classes)
        check_count("num_classes", num_classes)
        fresh = EuclideanRBF(num_classes)
        self.output = fresh.to(self.F6.weight).train(self.training)
        self.num_classes = num_classes
