"""A pass of a network without numbers: on the meta device, the network itself staying as it is."""

from torch import Tensor, nn
from torch.func import functional_call

from striate.models.network import Network


class _AllHeads(nn.Module):
    """Runs the auxiliary heads too, where a network has any."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        if isinstance(self.network, Network) and self.network.auxiliary_weights:
            return self.network.forward_aux(x)
        return self.network(x)


def stand_ins(network: nn.Module) -> dict[str, Tensor]:
    """Tensors without memory for all parameters and buffers."""
    parameters = {name: p.detach().to("meta").requires_grad_(p.requires_grad) for name, p in network.named_parameters()}
    return parameters | {name: buffer.to("meta") for name, buffer in network.named_buffers()}


def run_with(substitutes: dict[str, Tensor], network: nn.Module, x: Tensor) -> None:
    """One pass of `network` with all its heads, `substitutes` standing in for its parameters and buffers."""
    functional_call(_AllHeads(network), {f"network.{name}": tensor for name, tensor in substitutes.items()}, (x,))
