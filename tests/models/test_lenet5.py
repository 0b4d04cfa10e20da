"""What only LeNet-5 has: connections, tables, squashing, output codes, initialisation, its loss, and that it learns."""

import math

import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

from striate.models.arithmetic import count
from striate.models.lenet5 import C3_TABLE, LeNet5, PartialConv2d, ScaledTanh, Subsampling, output_codes


def test_connections_are_those_that_the_paper_prints():
    """Connections of a layer: units × (inputs of a unit + bias); the paper's total is 340,908."""
    connections = {}
    for layer in count(LeNet5(), (1, 32, 32)).layers:
        positions = math.prod(layer.output_shape[1:])
        if layer.type == "Subsampling":
            connections[layer.name] = 5 * layer.activations
        elif layer.type == "EuclideanRBF":
            connections[layer.name] = 84 * 10
        else:
            connections[layer.name] = layer.parameters * positions
    assert connections == {
        "C1": 122_304,
        "S2": 5_880,
        "C3": 151_600,
        "S4": 2_000,
        "C5": 48_120,
        "F6": 10_164,
        "output": 840,
    }
    assert sum(connections.values()) == 340_908


def test_c3_reads_the_maps_of_table_1():
    """Column by column as the paper's Table I: rows are the maps of S2, columns those of C3."""
    table = """
        X...XXX..XXXX.XX
        XX...XXX..XXXX.X
        XXX...XXX..X.XXX
        .XXX..XXXX..X.XX
        ..XXX..XXXX.XX.X
        ...XXX..XXXX.XXX
    """
    rows = table.split()
    for c3, sources in enumerate(C3_TABLE):
        assert sources == tuple(s2 for s2 in range(6) if rows[s2][c3] == "X")


def test_partial_convolution_is_a_dense_one_with_the_missing_kernels_zero():
    torch.manual_seed(0)
    layer = PartialConv2d(6, C3_TABLE, 5).double()
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    dense = torch.zeros(16, 6, 5, 5, dtype=torch.float64)
    kernels = iter(layer.weight.detach())
    for out, sources in enumerate(C3_TABLE):
        for source in sources:
            dense[out, source] = next(kernels)
    x = torch.randn(3, 6, 14, 14, dtype=torch.float64)
    torch.testing.assert_close(layer(x), F.conv2d(x, dense, layer.bias))
    small = PartialConv2d(3, ((0, 1), (2,)), 2).double()
    for parameter in small.parameters():
        nn.init.normal_(parameter)
    x = torch.randn(1, 3, 3, 3, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda w: torch.func.functional_call(small, {"weight": w}, (x,)), small.weight)


def test_subsampling_sums_scales_shifts_and_squashes():
    layer = Subsampling(2)
    layer.load_state_dict({"weight": torch.tensor([0.5, -1.0]), "bias": torch.tensor([0.1, 0.2])})
    x = torch.arange(32.0).view(1, 2, 4, 4) / 50
    sums = torch.stack([x[0, c, 2:, :2].sum() for c in range(2)])
    expected = 1.7159 * torch.tanh(2 / 3 * (sums * torch.tensor([0.5, -1.0]) + torch.tensor([0.1, 0.2])))
    torch.testing.assert_close(layer(x)[0, :, 1, 0], expected)


def test_squashing_keeps_plus_and_minus_one():
    torch.testing.assert_close(
        ScaledTanh()(torch.tensor([-1.0, 0.0, 1.0])), torch.tensor([-1.0, 0.0, 1.0]), atol=4e-6, rtol=0
    )


def test_digits_are_bitmaps_of_7_by_12():
    codes = output_codes(10)
    assert codes.shape == (10, 84)
    assert codes.unique().tolist() == [-1, 1]
    assert [int(code.gt(0).sum()) for code in codes] == [35, 27, 33, 32, 41, 35, 39, 25, 43, 39]
    seven = """
        #######
        .....##
        .....##
        ....##.
        ...##..
        ...##..
        ..##...
        ..##...
        ..##...
        ..##...
        .......
        .......
    """
    assert ["".join(".#"[pixel > 0] for pixel in row) for row in codes[7].view(12, 7)] == seven.split()


@pytest.mark.parametrize("classes", [1, 2, 5, 11, 84, 100, 168])
def test_other_numbers_of_classes_get_codes_far_from_each_other(classes: int):
    codes = output_codes(classes)
    assert codes.shape == (classes, 84)
    assert set(codes.unique().tolist()) <= {-1, 1}
    differing = (84 - codes @ codes.T) / 2
    others = differing[~torch.eye(classes, dtype=torch.bool)]
    assert set(others.tolist()) <= {42, 84}
    torch.manual_seed(classes)
    assert torch.equal(codes, output_codes(classes))


def test_logits_are_minus_squared_distances_and_their_cross_entropy_is_the_map_criterion():
    torch.manual_seed(0)
    network = LeNet5()
    seen = []
    network.F6.register_forward_hook(lambda _, __, output: seen.append(ScaledTanh()(output)))
    logits = network(torch.randn(4, 1, 32, 32))
    distances = torch.stack([((seen[0] - code) ** 2).sum(1) for code in output_codes(10)], dim=1)
    torch.testing.assert_close(logits, -distances)
    labels = torch.tensor([3, 1, 4, 1])
    criterion = (distances[range(4), labels] + torch.log(torch.exp(-distances).sum(1))).mean()
    torch.testing.assert_close(F.cross_entropy(logits, labels), criterion, rtol=1e-4, atol=1e-4)


def test_weights_start_within_their_fan_in():
    torch.manual_seed(0)
    network = LeNet5(in_channels=3)
    bounds = {"C1": 75, "S2": 4, "S4": 4, "C5": 400, "F6": 120}
    for name, fan_in in bounds.items():
        for parameter in network.get_submodule(name).parameters():
            assert parameter.abs().max() <= 2.4 / fan_in
    assert network.C5.weight.abs().max() > 2.3 / 400
    kernels = network.C3.weight.split([len(sources) for sources in C3_TABLE])
    for kernel, bias, sources in zip(kernels, network.C3.bias, C3_TABLE, strict=True):
        bound = 2.4 / (25 * len(sources))
        assert 0.9 * bound < kernel.abs().max() <= bound
        assert bias.abs() <= bound


@pytest.mark.parametrize("form", ["original", "modern"])
def test_28_by_28_is_padded_to_the_field_of_32(form: str):
    torch.manual_seed(0)
    network = LeNet5(form=form).eval()
    picture = torch.rand(2, 1, 28, 28)
    padded = F.pad(picture, (2, 2, 2, 2), mode="replicate" if form == "original" else "constant")
    assert torch.equal(network(picture), network(padded))
    with pytest.raises(ValueError, match="32×32 or 28×28; got 27×32"):
        network(torch.rand(2, 1, 27, 32))


@pytest.fixture
def one_thread():
    """Layers this small gain nothing from a second thread, and lose much when the machine is busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
def test_the_original_learns_digits():
    """Real digits of 8×8 enlarged to 32×32; momentum 0.9, rate 0.005 at batch 32, cosine; 95.7 to 96.5 % by seed."""
    torch.manual_seed(0)
    digits = load_digits()
    pictures = F.interpolate(torch.tensor(digits.images / 16).float()[:, None], size=32, mode="bilinear")
    labels = torch.tensor(digits.target)
    order = torch.randperm(len(labels))
    train, test = order[:1400], order[1400:]
    pictures = (pictures - pictures[train].mean()) / pictures[train].std()
    network = LeNet5()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.005, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 6 * 44)
    losses = []
    for _ in range(6):
        for batch in train[torch.randperm(1400)].split(32):
            loss = F.cross_entropy(network(pictures[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
    # ln 10 at the start: the distances are large, 84 and more, but their differences are not
    assert losses[0] == pytest.approx(math.log(10), abs=0.1)
    with torch.no_grad():
        accuracy = (network(pictures[test]).argmax(1) == labels[test]).double().mean()
    assert accuracy > 0.94
