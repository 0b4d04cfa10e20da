"""Every network that a library and we both have: equal names, shapes, outputs and gradients under the same weights."""

import sys

import pytest
import torch
from pairing import NAMES, SCRIPT, carry_over, error, ours, randomise, silence_dropout, theirs

from striate.transfer.weights import load_weights

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}
# One of each family and library in the default suite, the least that shows it; all under slow.
QUICK = ("torchvision-googlenet", "timm-mobilenetv1_100", SCRIPT)


def compare(name: str, side: int, dtype: torch.dtype, batch: int = 2) -> dict[str, float]:
    """The errors of logits (evaluation and training) and of the gradients of all parameters."""
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
    errors = {}
    with torch.no_grad():
        errors["logits"] = error(got.eval()(images), expected.eval()(images))
    one, other = got.eval(), expected.eval()
    for network in (one, other):
        network.zero_grad()
        network(images).square().mean().backward()
    renamed = names_of(pair, got)
    gradients = dict(expected.named_parameters())
    worst = 0.0
    for key, parameter in got.named_parameters():
        counterpart = gradients[renamed[key]].grad
        if parameter.grad is None:
            assert counterpart is None, key
        else:
            worst = max(worst, error(parameter.grad, counterpart.reshape(parameter.grad.shape)))
    errors["gradients"] = worst
    if heads(name):
        silence_dropout(got), silence_dropout(expected)
        with torch.no_grad():
            said, wanted = got.forward_aux(images), expected(images)
        wanted = (wanted.logits, wanted.aux_logits1, wanted.aux_logits2)
        errors["auxiliary"] = max(error(mine, their) for mine, their in zip(said, wanted, strict=True))
    return errors


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
    for dtype, tolerance in TOLERANCE.items():
        errors = compare(name, 33, dtype)
        assert max(errors.values()) <= tolerance, errors


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("side", [64, 224])
@pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
def test_equal_logits_and_gradients_of_every_pair(name: str, side: int, dtype: torch.dtype):
    errors = compare(name, side, dtype, batch=1 if side == 224 else 2)
    print(f"{name} {side} {dtype}: {errors}", file=sys.stderr)
    assert max(errors.values()) <= TOLERANCE[dtype], errors
