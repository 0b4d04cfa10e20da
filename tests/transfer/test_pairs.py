"""Every network that a library and we both have: equal names, shapes, outputs and gradients under the same weights."""

import sys

import pytest
import torch
from pairing import NAMES, SCRIPT, carry_over, error, ours, randomise, silence_dropout, theirs

from striate.transfer.weights import load_weights

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}
IN_TRAINING = {torch.float32: 1e-3, torch.float64: 1e-10}  # what batch norm takes off a gradient magnifies rounding
# One of each family and library in the default suite, the least that shows it; all under slow.
QUICK = ("torchvision-googlenet", "timm-mobilenetv1_100", SCRIPT)


def compare(name: str, side: int, dtype: torch.dtype, batch: int = 2) -> dict[str, float]:
    """The errors of logits and of the gradients of all parameters, in evaluation and in training.

    In training batch norm sees the statistics of the batch, whose running averages are compared too; dropout is silent.
    """
    pair = NAMES[name]
    with torch.device("meta"):
        outline, mine = theirs(pair), ours(pair, **heads(name))
    expected, got = outline.to_empty(device="cpu").to(dtype), mine.to_empty(device="cpu").to(dtype)
    torch.nn.init.zeros_(next(got.parameters()))
    randomise(expected)
    for buffer in (*expected.buffers(), *got.buffers()):
        if buffer.dtype == torch.int64:
            buffer.zero_()
    report = carry_over(pair, expected, got)
    assert report.new == []
    assert report.skipped == []
    images = torch.randn(batch, 3, side, side, dtype=dtype, generator=torch.Generator().manual_seed(1))
    errors, renamed = {}, names_of(pair, got)
    for mode, prepare in (("evaluation", torch.nn.Module.eval), ("training", silence_dropout)):
        wanted = logits_of(prepare(expected)(images))
        said = prepare(got).forward_aux(images)[: len(wanted)]  # in evaluation theirs has no heads
        errors[f"logits, {mode}"] = max(map(error, said, wanted))
        for network, logits in ((got, said), (expected, wanted)):
            network.zero_grad()
            sum(each.square().mean() for each in logits).backward()
        errors[f"gradients, {mode}"] = worst_gradient(got, expected, renamed)
    averages = dict(expected.named_buffers())
    errors["running averages"] = max(
        (error(own.double(), averages[renamed[key]].double()) for key, own in got.named_buffers()), default=0.0
    )
    return errors


def logits_of(said) -> tuple[torch.Tensor, ...]:
    """The logits, and those of the heads that torchvision's GoogLeNet has in training, last head last."""
    if isinstance(said, torch.Tensor):
        return (said,)
    return said.logits, said.aux_logits1, said.aux_logits2


def worst_gradient(got, expected, renamed) -> float:
    """The largest error of a gradient, relative to the largest of its layer: a bias before batch norm has none."""
    gradients, errors = dict(expected.named_parameters()), []
    for key, parameter in got.named_parameters():
        counterpart = gradients[renamed[key]].grad
        if parameter.grad is None:
            assert counterpart is None, key
            continue
        difference = (parameter.grad - counterpart.reshape(parameter.grad.shape)).abs().max()
        layer = got.get_submodule(key.rpartition(".")[0])
        errors.append(difference / max(own.grad.abs().max() for own in layer.parameters()))
    return torch.stack(errors).max().item()  # which a NaN passes through


def too_large(errors: dict[str, float], dtype: torch.dtype) -> dict[str, float]:
    tolerances = {name: (IN_TRAINING if "training" in name else TOLERANCE)[dtype] for name in errors}
    return {name: value for name, value in errors.items() if not value <= tolerances[name]}


def heads(name: str) -> dict:
    return {"auxiliary": True} if name == "torchvision-googlenet" else {}


def names_of(pair, network) -> dict[str, str]:
    """Our name → theirs."""
    from striate.transfer.renaming import rename

    with torch.device("meta"):
        there = theirs(pair).state_dict()
    return {new: old for old, new in rename(there, pair.mapping).items()}


@pytest.mark.parametrize("name", NAMES)
def test_every_name_and_shape_is_covered_on_both_sides(name: str):
    pair = NAMES[name]
    with torch.device("meta"):
        report = carry_over(pair, theirs(pair), mine := ours(pair, **heads(name)))
        assert sorted(report.loaded) == sorted(mine.state_dict())
        assert (report.new, report.skipped) == ([], [])
        without = ours(pair)
        report = carry_over(pair, theirs(pair), without)
    assert sorted(report.loaded) == sorted(without.state_dict())
    assert all(name.startswith(("aux1.", "aux2.")) for name in report.skipped)


def test_a_tensor_that_is_missing_or_one_too_many_is_named():
    pair = NAMES["torchvision-resnet18"]
    with torch.device("meta"):
        network, source = ours(pair), theirs(pair)
    state = {name: tensor for name, tensor in source.state_dict().items() if name != "layer2.0.downsample.0.weight"}
    state["extra.weight"] = torch.empty(1, device="meta")
    state["layer1.0.conv1.weight"] = torch.empty(64, 64, 1, 1, device="meta")
    from striate.errors import ConfigurationError
    from striate.transfer.foreign import translate
    from striate.transfer.reading import WeightFile

    weights, _ = translate(network, WeightFile(None, "", state), pair.mapping)
    with pytest.raises(ConfigurationError) as caught:
        load_weights(network, weights, [], source="a file", new_head=False)
    for part in (
        "3 tensors",
        "conv3_x.conv3_1.shortcut.conv.weight is not in the file",
        "conv2_x.conv2_1.conv1.weight is (64, 64, 1, 1) in the file, (64, 64, 3, 3) here",
        "extra.weight is only in the file",
    ):
        assert part in caught.value.what


@pytest.mark.parametrize("name", QUICK)
def test_equal_logits_and_gradients(name: str):
    for dtype in TOLERANCE:
        assert not too_large(compare(name, 33, dtype), dtype)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("side", [64, 224])
@pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
def test_equal_logits_and_gradients_of_every_pair(name: str, side: int, dtype: torch.dtype):
    errors = compare(name, side, dtype, batch=1 if side == 224 else 2)
    print(f"{name} {side} {dtype}: {errors}", file=sys.stderr)
    assert not too_large(errors, dtype)
