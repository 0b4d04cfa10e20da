"""Which parameters decay, and at which rates: decided by the type of the module that owns them, by their dimension and
by the part of the network in which they lie, never by name."""

from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.nn.parameter import is_lazy

WEIGHTED = (_ConvNd, nn.Linear, nn.Bilinear)  # _ConvNd: convolutions and transposed ones, of any dimension
UNDECAYED = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.Embedding)  # _NormBase: batch and instance norm


def parameter_groups(
    module: nn.Module,
    *,
    decay_depthwise: bool = True,
    backbone_rate: float = 1.0,
    bias_rate: float = 1.0,
    rates: Mapping[str, float] | None = None,
) -> list[dict[str, Any]]:
    """Divide the trainable parameters into those that decay and those that do not, and by their rates.

    Decayed are the weights of convolutions, transposed convolutions and dense layers. Not decayed are all biases, the
    affine parameters of every normalisation, and whatever else is one-dimensional (only axes longer than 1 count: a
    scale of shape (C, 1, 1) is a vector). A weight of several dimensions in a module of a type unknown here is a filter
    like any other and decays. A parameter that two modules share decays if it would in both.

    Args:
        module: the network; parameters with `requires_grad=False` are left out.
        decay_depthwise: False leaves depthwise filters out of the decay, as MobileNet does (Howard et al. 2017,
            section 3.2: "it was important to put very little or no weight decay on the depthwise filters").
        backbone_rate: times the optimizer's rate, the rate of all that lies in `module.backbone` (DeepLab: 0.1).
        bias_rate: likewise of the biases of convolutions and dense layers (FCN, as in Caffe: 2).
        rates: likewise of all that lies in a submodule, by its name; all three multiply.

    Returns:
        At most two groups for any `torch.optim` optimizer, `name` "decay", with the optimizer's own `weight_decay`, and
        "no_decay", with 0; one without parameters is left out. Within a group the order is that of
        `module.parameters()`. Parameters of another rate are groups of their own, by the factor "rate", with which
        whoever makes the optimizer must multiply its `lr`; it stands in the name too.

    Raises:
        ValueError: no trainable parameter, a lazy one that has no shape yet, or a rate of a backbone that is missing.
    """
    factors = _factors(module, backbone_rate, rates or {})
    of: dict[nn.Parameter, float] = {}
    verdicts: dict[nn.Parameter, bool] = {}  # in the order of module.parameters(); parameters hash by identity
    for owner in module.modules():
        for parameter in owner.parameters(recurse=False):
            if not parameter.requires_grad:
                continue
            if is_lazy(parameter):
                raise ValueError(f"expected parameters with a shape: pass a batch through {type(owner).__name__} first")
            verdicts[parameter] = verdicts.get(parameter, True) and _decays(owner, parameter, decay_depthwise)
            bias = isinstance(owner, WEIGHTED) and parameter is owner.bias
            # As many digits as are sure: products of the same factors in another order are the same rate.
            of[parameter] = float(f"{factors.get(parameter, 1.0) * (bias_rate if bias else 1.0):.12g}")
    if not verdicts:
        raise ValueError("expected at least one trainable parameter: all are frozen, or there are none")
    groups: list[dict[str, Any]] = []
    for rate in sorted(set(of.values()), reverse=True):
        suffix: dict[str, Any] = {} if rate == 1.0 else {"rate": rate}
        end = f"_{rate:.12g}" if suffix else ""
        own = [(p, decays) for p, decays in verdicts.items() if of[p] == rate]
        groups += [
            {"name": f"decay{end}", "params": [p for p, decays in own if decays], **suffix},
            {"name": f"no_decay{end}", "weight_decay": 0.0, "params": [p for p, decays in own if not decays], **suffix},
        ]
    grouped = sorted(id(parameter) for group in groups for parameter in group["params"])
    assert grouped == sorted(id(p) for p in module.parameters() if p.requires_grad), "not each in exactly one group"
    return [group for group in groups if group["params"]]


def _factors(module: nn.Module, backbone_rate: float, rates: Mapping[str, float]) -> dict[nn.Parameter, float]:
    """The factors of parameters by the part of the network in which they lie; 1 where there is none."""
    parts = list(rates.items())
    if backbone_rate != 1.0:
        if not isinstance(getattr(module, "backbone", None), nn.Module):
            raise ValueError(f"expected backbone_rate=1 for {type(module).__name__}, which has no backbone")
        parts.append(("backbone", backbone_rate))
    factors: dict[nn.Parameter, float] = {}
    for name, factor in parts:
        for parameter in module.get_submodule(name).parameters():
            factors[parameter] = factors.get(parameter, 1.0) * factor
    return factors


def _decays(owner: nn.Module, parameter: nn.Parameter, decay_depthwise: bool) -> bool:
    if isinstance(owner, UNDECAYED):
        return False
    if isinstance(owner, WEIGHTED):
        is_weight = parameter.ndim >= 2
        return is_weight and (decay_depthwise or not _is_depthwise(owner))
    return sum(length > 1 for length in parameter.shape) >= 2


def _is_depthwise(owner: nn.Module) -> bool:
    """One filter, or several, for each input channel alone; a grey picture's first layer is an ordinary one."""
    return isinstance(owner, _ConvNd) and owner.groups == owner.in_channels > 1
