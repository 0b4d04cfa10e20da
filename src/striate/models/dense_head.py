"""What AlexNet, ZFNet and VGG share: convolutions one after the other, and three dense layers that read their map."""

from collections.abc import Mapping

from torch import nn

from striate.models.network import (
    BatchNorm1d,
    FeatureInfo,
    Network,
    check_choice,
    check_count,
    initialise_he,
)

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh}


class DenseHeadNetwork(Network):
    """Stages in a line, average pooling to a fixed size, then fc6, fc7 and fc8 with dropout after the first two.

    The pooling changes nothing where the map has that size already, as in the papers; it lets pictures of other sizes
    in. Where dropout follows the activation at training, evaluation scales nothing (inverted dropout).
    """

    classifier_name = "fc8"

    def __init__(self, num_classes: int, in_channels: int, *, activation: str = "relu", initialisation: str = "paper"):
        super().__init__(num_classes, in_channels)
        check_choice("activation", activation, ACTIVATIONS)
        check_choice("initialisation", initialisation, ("paper", "he"))
        self.activation, self.initialisation = activation, initialisation
        self.feature_info = {}

    def _activation(self) -> nn.Module:
        return nn.ReLU(inplace=True) if self.activation == "relu" else nn.Tanh()

    def _add_stage(self, name: str, channels: int, stride: int, modules: Mapping[str, nn.Module | None]) -> None:
        """Adds a stage of `modules`, in order of execution; None is a module that this variant has not."""
        present = {key: module for key, module in modules.items() if module is not None}
        for key, module in present.items():
            self.add_module(key, module)
        self.feature_info[name] = FeatureInfo(channels, stride, tuple(present))

    def _add_head(self, pooled_size: int, hidden: int, dropout: float, eps: float | None = None) -> None:
        """Adds avgpool, fc6, fc7, fc8 and what stands between them (batch norm of ε, or none), and initialises all."""
        check_count("pooled_size", pooled_size)
        check_count("hidden", hidden)
        check_dropout("dropout", dropout)
        *_, last = self.feature_info.values()
        modules: dict[str, nn.Module] = {"avgpool": nn.AdaptiveAvgPool2d(pooled_size)}
        inputs = last.channels * pooled_size**2
        for number in (6, 7):
            modules[f"fc{number}"] = nn.Linear(inputs, hidden, bias=eps is None)
            if eps is not None:
                modules[f"bn{number}"] = BatchNorm1d(hidden, eps)
            modules[f"act{number}"], modules[f"drop{number}"] = self._activation(), nn.Dropout(dropout)
            inputs = hidden
        modules["fc8"] = nn.Linear(hidden, self.num_classes)
        for name, module in modules.items():
            self.add_module(name, module)
        self.head, self.num_features = tuple(modules), hidden
        if self.initialisation == "he":
            initialise_he(self, self.activation)
        else:
            self._initialise_as_in_the_paper()

    def _initialise_as_in_the_paper(self) -> None:
        raise NotImplementedError


def local_response_norm() -> nn.LocalResponseNorm:
    """Of AlexNet (sec. 3.3): k = 2, n = 5, α = 10⁻⁴, β = 0.75; PyTorch's layer divides α by n, hence 5 · 10⁻⁴."""
    return nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2)


def initialise_normal(network: Network, std: float) -> None:
    """Weights of convolutions and dense layers N(0, std²), biases 0."""
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.normal_(module.weight, std=std)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def check_dropout(name: str, value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
        raise ValueError(f"{name} must be at least 0 and below 1; got {value!r}")
