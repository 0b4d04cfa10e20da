"""The multilayer perceptron: layers of neurons, each of which sees all of the layer before."""

from typing import Literal

from torch import Tensor, nn

from striate.models.network import (
    BatchNorm1d,
    FeatureInfo,
    Network,
    check_choice,
    check_count,
    check_eps,
    initialise_he,
)

ACTIVATIONS: dict[str, type[nn.Module]] = {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "relu": nn.ReLU}


class MLP(Network):
    """Multilayer perceptron (Rumelhart, Hinton, Williams 1986, Nature 323; Nielsen 2015, chapter 1: 784-30-10).

    =======  ==========================================  ============
    layer    what it does                                output shape
    =======  ==========================================  ============
    flatten  channel by channel, row by row              C·H·W
    fc1 …    linear, batch norm on request, activation   hidden[l]
    last fc  linear                                      K
    =======  ==========================================  ============

    For a 28×28 grey picture and 10 classes: 23,860 parameters, 23,820 multiply-adds.

    Args:
        num_classes: K.
        in_channels: channels of the picture.
        image_size: (H, W) of the picture; the data decide it.
        hidden: neurons of each hidden layer, of which there may be none (a linear classifier).
        activation: "sigmoid" (default), "tanh" or "relu", after each hidden layer.
        batch_norm: batch normalisation before the activation (Ioffe & Szegedy 2015, section 3.2); the bias before it is
            left out, since the normalisation would subtract it.
        batch_norm_eps: of that; 0.001 is usual in Keras.
        initialisation: "normal": all weights and biases N(0, 1), as Nielsen has them; "scaled": weights
            N(0, gain² / fan-in), biases 0, so that no neuron begins saturated, whatever the size of the picture.

    Input: (N, C, H, W) of exactly `image_size`.

    Differs from the text: the activation of the output layer (sigmoid there) belongs to the loss, as for all networks
    here, so that the outputs are logits (the weighted inputs z of the last layer).
    """

    paper_input = (1, 28, 28)

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 1,
        image_size: tuple[int, int] = (28, 28),
        *,
        hidden: tuple[int, ...] = (30,),
        activation: Literal["sigmoid", "tanh", "relu"] = "sigmoid",
        batch_norm: bool = False,
        batch_norm_eps: float = 1e-5,
        initialisation: Literal["normal", "scaled"] = "normal",
    ):
        super().__init__(num_classes, in_channels)
        check_choice("activation", activation, ACTIVATIONS)
        check_choice("initialisation", initialisation, ("normal", "scaled"))
        check_eps(batch_norm_eps)
        for neurons in hidden:
            check_count("each of hidden", neurons)
        for side in image_size:
            check_count("each side of image_size", side)
        self.image_size, self.depth = (image_size[0], image_size[1]), len(hidden)
        widths = [in_channels * self.image_size[0] * self.image_size[1], *hidden]
        self.feature_info = {}
        for number in range(1, self.depth + 1):
            self.add_module(f"fc{number}", nn.Linear(widths[number - 1], widths[number], bias=not batch_norm))
            if batch_norm:
                self.add_module(f"bn{number}", BatchNorm1d(widths[number], batch_norm_eps))
            own = (f"fc{number}", f"bn{number}") if batch_norm else (f"fc{number}",)
            self.feature_info[f"fc{number}"] = FeatureInfo(widths[number], max(self.image_size), own)
        self.activation = ACTIVATIONS[activation]()
        self.classifier_name, self.num_features = f"fc{self.depth + 1}", widths[-1]
        self.add_module(self.classifier_name, nn.Linear(widths[-1], num_classes))
        if initialisation == "scaled":
            initialise_he(self, activation)
        else:
            self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                for parameter in module.parameters():
                    nn.init.normal_(parameter)

    def stack(self) -> list[nn.Module]:
        """The modules from the flattened picture to the logits, in order: what backpropagation by hand walks over."""
        modules: list[nn.Module] = []
        for info in self.feature_info.values():
            modules += [*(self.get_submodule(name) for name in info.modules), self.activation]
        return [*modules, self.get_submodule(self.classifier_name)]

    def forward(self, x: Tensor) -> Tensor:
        features = list(self.forward_features(x).values())
        return self.get_submodule(self.classifier_name)(features[-1].flatten(1) if features else x.flatten(1))

    def forward_features(self, x: Tensor) -> dict[str, Tensor]:
        """The activations of each hidden layer, as maps of one point: (N, neurons, 1, 1)."""
        self.check_input(x)
        x, features = x.flatten(1), {}
        for name, info in self.feature_info.items():
            for module in info.modules:
                x = self.get_submodule(module)(x)
            x = self.activation(x)
            features[name] = x[:, :, None, None]
        return features

    def check_input(self, x: Tensor) -> None:
        super().check_input(x)
        if tuple(x.shape[2:]) != self.image_size:
            own, other = (f"{height}×{width}" for height, width in (self.image_size, x.shape[2:]))
            raise ValueError(f"this perceptron was built for pictures of {own}; got {other}")
