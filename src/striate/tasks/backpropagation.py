"""The multilayer perceptron trained by backpropagation written out: four equations, and no autograd on the way.

With the weighted inputs z^l = W^l a^(l-1) + b^l of layer l, its activations a^l = s(z^l) and the cost C, the error of a
layer is delta^l = dC/dz^l (Nielsen 2015, chapter 2). For a batch, one pattern x a row:

    (BP1)   delta^L    = dC/da^L · s'(z^L)                  `Loss.output_error`
    (BP2)   delta^l    = (delta^(l+1) W^(l+1)) · s'(z^l)    `error_of_layer_before`
    (BP3)   dC/db^l_j  = sum over x of delta^l_j            `bias_gradient`
    (BP4)   dC/dw^l_jk = sum over x of delta^l_j a^(l-1)_k  `weight_gradient`
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from striate.data.loading import Batch
from striate.errors import ConfigurationError
from striate.optim.losses import Loss
from striate.tasks.classification import ClassificationTask

# s'(z) of each activation, as a function of the activation a = s(z).
SLOPES: dict[type[nn.Module], Callable[[Tensor], Tensor]] = {
    nn.Sigmoid: lambda a: a * (1 - a),
    nn.Tanh: lambda a: 1 - a * a,
    nn.ReLU: lambda a: (a > 0).to(a.dtype),
}

Gradients = dict[Tensor, Tensor]  # by parameter


def error_of_layer_before(error: Tensor, weight: Tensor, slope: Tensor) -> Tensor:
    """BP2: the error (N, J) of a layer, through its weights (J, K), to (N, K), times the slope s'(z) there."""
    return (error @ weight) * slope


def bias_gradient(error: Tensor) -> Tensor:
    """BP3: (N, J) to (J,)."""
    return error.sum(0)


def weight_gradient(error: Tensor, activations_before: Tensor) -> Tensor:
    """BP4: errors (N, J) and activations (N, K) of the layer before to (J, K)."""
    return error.mT @ activations_before


class DenseLayer(NamedTuple):
    """A layer of neurons: weighted sum, batch norm if there is one, activation unless it is the last."""

    dense: nn.Linear
    norm: nn.modules.batchnorm.BatchNorm1d | None = None
    activation: nn.Module | None = None

    @property
    def learns(self) -> bool:
        """Whether any of its parameters does."""
        modules = [self.dense, *([] if self.norm is None else [self.norm])]
        return any(parameter.requires_grad for module in modules for parameter in module.parameters())


class Pass(NamedTuple):
    """What one layer leaves behind on the way forward, for the way back."""

    before: Tensor  # (N, K) activations of the layer before
    weighted: Tensor  # (N, J) weighted inputs z
    after: Tensor  # (N, J) activations; z itself in the last layer


def layers_of(network: nn.Module) -> list[DenseLayer]:
    """The layers of a network that is nothing but dense layers, as its `stack()` gives them.

    Raises:
        ConfigurationError: the equations do not describe this network.
    """
    if not hasattr(network, "stack"):
        raise ConfigurationError(
            f"task=backpropagation writes out the equations of dense layers; {type(network).__name__} has others",
            nearest="model=mlp",
            do="or train this network with task=classification",
        )
    layers: list[DenseLayer] = []
    for module in network.stack():  # type: ignore[operator]
        if isinstance(module, nn.Linear):
            layers.append(DenseLayer(module))
        elif isinstance(module, nn.BatchNorm1d) and layers[-1].norm is None and layers[-1].activation is None:
            layers[-1] = layers[-1]._replace(norm=module)
        elif type(module) in SLOPES and layers[-1].activation is None:
            layers[-1] = layers[-1]._replace(activation=module)
        else:
            raise ConfigurationError(
                f"task=backpropagation has no equation for {type(module).__name__}", do="use task=classification"
            )
    return layers


def forward_pass(layers: list[DenseLayer], inputs: Tensor) -> list[Pass]:
    """What each layer computes of flattened pictures (N, C·H·W); the last one's `after` are the logits."""
    passes: list[Pass] = []
    for dense, norm, activation in layers:
        before = passes[-1].after if passes else inputs
        weighted = before @ dense.weight.mT
        if dense.bias is not None:
            weighted = weighted + dense.bias
        after = weighted if norm is None else norm(weighted)
        passes.append(Pass(before, weighted, after if activation is None else activation(after)))
    return passes


def backward_pass(layers: list[DenseLayer], passes: list[Pass], error: Tensor) -> Gradients:
    """The gradients from the error of the output layer, layer by layer from the last to the first that learns."""
    gradients: Gradients = {}
    first = next((number for number, layer in enumerate(layers) if layer.learns), len(layers))
    for number in range(len(layers) - 1, first - 1, -1):
        layer, own = layers[number], passes[number]
        if layer.norm is not None:
            error = _through_norm(layer.norm, own.weighted, error, gradients)
        if layer.dense.bias is not None:
            gradients[layer.dense.bias] = bias_gradient(error)
        gradients[layer.dense.weight] = weight_gradient(error, own.before)
        if number > first:
            before = layers[number - 1].activation
            slope = torch.ones_like(own.before) if before is None else SLOPES[type(before)](own.before)
            error = error_of_layer_before(error, layer.dense.weight, slope)
    return gradients


def _through_norm(norm: nn.BatchNorm1d, weighted: Tensor, error: Tensor, gradients: Gradients) -> Tensor:
    """Batch normalisation between z and s: the error behind it to the one before it (Ioffe & Szegedy 2015, section 3).

    The mean and the deviation of the batch depend on every pattern, so their share of the error comes off it again.
    """
    by_batch = norm.training and len(weighted) > 1
    if by_batch:
        mean, variance = weighted.mean(0), weighted.var(0, correction=0)
    else:
        assert norm.running_mean is not None
        assert norm.running_var is not None
        mean, variance = norm.running_mean, norm.running_var
    deviation = (variance + norm.eps).sqrt()
    normalised = (weighted - mean) / deviation
    gradients[norm.weight], gradients[norm.bias] = (error * normalised).sum(0), error.sum(0)
    error = error * norm.weight
    if by_batch:
        error = error - error.mean(0) - normalised * (error * normalised).mean(0)
    return error / deviation


def gradients_by_hand(network: nn.Module, loss: Loss, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Gradients]:
    """The mean loss of a batch and its gradient by every parameter, by the four equations.

    Args:
        network: see `layers_of`.
        loss: gives the output error.
        inputs: (N, C, H, W).
        targets: (N,) classes.
    """
    with torch.no_grad():
        layers = layers_of(network)
        passes = forward_pass(layers, inputs.flatten(1))
        logits = passes[-1].after
        each = loss(logits, targets)
        error = loss.output_error(logits, targets) / loss.sample_weights(targets).sum()
        return loss.reduce(each, targets), backward_pass(layers, passes, error)


class BackpropagationTask(ClassificationTask):
    """Classification whose gradients are computed by hand: Lightning's manual optimisation.

    Everything but the gradient is as in the task above it: optimizer and schedule, figures, the guard against
    divergence, checkpoints, resumption, validation.

    Raises:
        ConfigurationError: a network that is not made of dense layers alone.
    """

    def __init__(self, network: nn.Module, *arguments: Any, **options: Any):
        super().__init__(network, *arguments, **options)
        self.automatic_optimization = False
        layers_of(network)
        self._gradients: Gradients = {}

    @staticmethod
    def require(trainer: Mapping[str, Any]) -> None:
        """Refuses options of the Trainer that need gradients which autograd has made.

        Raises:
            ConfigurationError: accumulation, clipping, scaled half precision, sharded parameters.
        """
        unfit = {
            "accumulate_grad_batches": trainer["accumulate_grad_batches"] != 1,
            "gradient_clip_val": trainer["gradient_clip_val"] is not None,
            "precision": str(trainer["precision"]) in ("16-mixed", "16"),
            "strategy": str(trainer["strategy"]) not in ("auto", "ddp", "ddp_spawn", "ddp_fork"),
        }
        valid = {"accumulate_grad_batches": 1, "gradient_clip_val": "null", "precision": "32-true", "strategy": "auto"}
        for name in (name for name, is_unfit in unfit.items() if is_unfit):
            raise ConfigurationError(
                f"trainer.{name}={trainer[name]} does not go with task=backpropagation",
                nearest=f"trainer.{name}={valid[name]}",
                do="or use task=classification: the gradients are the same",
            )

    @torch.no_grad()
    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """One batch forward, its errors back, one update; the mean loss."""
        layers, targets = layers_of(self.network), batch.targets
        passes = forward_pass(layers, self._inputs(batch.images).flatten(1))
        logits = passes[-1].after
        loss = self._noted(logits, targets, self.loss(logits, targets))
        # As the mean is taken: by the samples of this process, or by the weights of all samples of the global batch.
        total = self.loss.sample_weights(targets).sum()
        share = 1 / total if self.loss.weight is None else self.trainer.world_size / self._summed(total)
        error = self.loss.output_error(logits, targets) * share
        self._gradients = backward_pass(layers, passes, error.to(logits.dtype))
        self.manual_backward(loss)  # lets callbacks look at the loss first; leads to `backward`
        self.optimizers().step()  # type: ignore[union-attr]
        for schedule in self.trainer.lr_scheduler_configs:
            schedule.scheduler.step()  # type: ignore[call-arg]
        return loss

    def backward(self, loss: Tensor, *arguments: Any, **options: Any) -> None:
        """Puts the gradients that were computed by hand where the optimizer looks for them."""
        for parameter, gradient in self._gradients.items():
            if parameter.requires_grad:
                mean = self._summed(gradient.to(parameter.dtype).contiguous())
                parameter.grad = mean.div_(self.trainer.world_size) if self.trainer.world_size > 1 else mean
        self._gradients = {}
