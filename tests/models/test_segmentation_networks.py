"""Networks that label pixels beyond what all of them share: where things stand, and independent implementations."""

from copy import deepcopy
from functools import partial

import pytest
import torch
import torch.nn.functional as F
import torchvision
from test_parity import copy_by_order, distance
from torch import Tensor, nn
from torchvision.models.vgg import make_layers

import striate.models.fcn
from striate.models.arithmetic import count
from striate.models.backbone_unet import BackboneUNet
from striate.models.convolutional import fully_convolutional
from striate.models.deconvnet import DeconvNet
from striate.models.deeplab_v3 import DeepLabV3, DilatedFCN
from striate.models.fcn import FCN
from striate.models.resnet import ResNet
from striate.models.segmentation import SegmentationNetwork, behead
from striate.models.segnet import SegNet, SegNetBasic
from striate.models.unet import UNet
from striate.models.vgg import VGG
from striate.transfer.weights import load_weights

WIDTHS = (4, 6, 8, 8, 6)
DENSE = partial(VGG, configuration="A", ceil_mode=True, initialisation="he", widths=WIDTHS, hidden=10)
UNPOOLED = partial(VGG, configuration="D", batch_norm=True, ceil_mode=True, initialisation="he", widths=WIDTHS,
                   pooled_size=1, hidden=1)  # fmt: skip


def assert_same(ours: SegmentationNetwork, theirs: nn.Module, size: tuple[int, int], channels: int = 3) -> None:
    """Equal logits in both modes, gradients of a sum of squares, and statistics after it, under the same weights."""
    copy_by_order(theirs, ours)
    ours.double(), theirs.double()
    x = torch.randn(2, channels, *size, dtype=torch.float64)

    def outputs() -> tuple[Tensor, ...]:
        result = theirs(x)
        return tuple(result.values()) if isinstance(result, dict) else (result,)

    for training in (False, True):
        ours.train(training).zero_grad(), theirs.train(training).zero_grad()
        pairs = list(zip(ours.forward_aux(x), outputs(), strict=True))
        for got, expected in pairs:
            assert got.shape[2:] == size
            assert distance(got, expected) <= 1e-10
    sum(got.square().sum() for got, _ in pairs).backward()
    sum(expected.square().sum() for _, expected in pairs).backward()
    for (name, parameter), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert distance(parameter.grad, other.grad) <= 1e-7, name
    for our_buffer, their_buffer in zip(ours.buffers(), theirs.buffers(), strict=True):
        torch.testing.assert_close(our_buffer, their_buffer)


def still(network: nn.Module) -> nn.Module:
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return network


@pytest.mark.parametrize("name", ["fcn_resnet50", "deeplabv3_resnet50"])
def test_it_is_torchvisions(name: str):
    """With the auxiliary heads, whose logits are compared too."""
    theirs = torchvision.models.get_model(name, weights=None, weights_backbone=None, num_classes=5, aux_loss=True)
    options = {"backbone": partial(ResNet, depth=50, stride_in="3x3", output_stride=8), "auxiliary": True}
    if name == "fcn_resnet50":
        ours = DilatedFCN(5, **options)
    else:
        ours = DeepLabV3(5, form="torchvision", rates=(12, 24, 36), multi_grid=None, **options)
    assert_same(still(ours), still(theirs), (33, 46))


@pytest.mark.parametrize(("encoder", "centre"), [("resnet34", False), ("vgg16_bn", True)])
def test_it_is_segmentation_models_pytorchs(encoder: str, centre: bool):
    library = pytest.importorskip("segmentation_models_pytorch")
    theirs = library.Unet(encoder, encoder_weights=None, classes=5)
    vgg = partial(VGG, batch_norm=True, ceil_mode=True, pooled_size=1, hidden=1)
    backbone = vgg if centre else partial(ResNet, depth=34)
    assert_same(BackboneUNet(5, backbone=backbone, centre=centre), theirs, (64, 96))


class SegNetOfTorchvision(nn.Module):
    """torchvision's VGG-16 with batch norm as encoder, PyTorch's own unpooling, the decoder written out."""

    def __init__(self, widths: tuple[int, ...], classes: int):
        super().__init__()
        a, b, c, d, e = widths
        self.features = make_layers([a, a, "M", b, b, "M", c, c, c, "M", d, d, d, "M", e, e, e, "M"], batch_norm=True)
        plan = [
            [(e, e), (e, e), (e, d)],
            [(d, d), (d, d), (d, c)],
            [(c, c), (c, c), (c, b)],
            [(b, b), (b, a)],
            [(a, a)],
        ]
        self.decoder = nn.ModuleList(nn.Sequential(*(layer for pair in block for layer in self.layers(*pair)))
                                     for block in plan)  # fmt: skip
        self.classifier = nn.Conv2d(a, classes, 3, padding=1)

    @staticmethod
    def layers(inputs: int, outputs: int) -> list[nn.Module]:
        return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]

    def forward(self, x: Tensor) -> Tensor:
        pools = []
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                size = x.shape[2:]
                x, indices = F.max_pool2d(x, 2, ceil_mode=True, return_indices=True)
                pools.append((indices, size))
            else:
                x = layer(x)
        for block, (indices, size) in zip(self.decoder, reversed(pools), strict=True):
            x = block(F.max_unpool2d(x, indices, 2, output_size=size))
        return self.classifier(x)


def test_segnet_is_torchvisions_vgg_and_its_mirror():
    assert_same(SegNet(5, backbone=UNPOOLED), SegNetOfTorchvision(WIDTHS, 5), (45, 60))


class PlainUNet(nn.Module):
    """The figure of the paper, three sizes of maps, on a tile that has its borders already."""

    def __init__(self, padding: int):
        super().__init__()
        self.a, self.b, self.c = self.two(2, 4, padding), self.two(4, 6, padding), self.two(6, 8, padding)
        self.up_b, self.d = nn.ConvTranspose2d(8, 6, 2, 2), self.two(12, 6, padding)
        self.up_a, self.e = nn.ConvTranspose2d(6, 4, 2, 2), self.two(8, 4, padding)
        self.out = nn.Conv2d(4, 5, 1)

    @staticmethod
    def two(inputs: int, outputs: int, padding: int) -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=padding), nn.ReLU(),
                             nn.Conv2d(outputs, outputs, 3, padding=padding), nn.ReLU())  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        a = self.a(x)
        b = self.b(F.max_pool2d(a, 2))
        x = self.up_b(self.c(F.max_pool2d(b, 2)))
        x = self.up_a(self.d(torch.cat((torchvision.transforms.functional.center_crop(b, x.shape[2:]), x), 1)))
        return self.out(self.e(torch.cat((torchvision.transforms.functional.center_crop(a, x.shape[2:]), x), 1)))


@pytest.mark.parametrize(("padding", "side", "remaining"), [("valid", 92, 52), ("same", 48, 48)])
def test_unet_on_a_tile_is_the_paper_figure(padding: str, side: int, remaining: int):
    ours, theirs = UNet(5, 2, widths=(4, 6, 8), padding=padding, dropout=0.0), PlainUNet(int(padding == "same"))
    copy_by_order(theirs, ours)
    tile = torch.randn(2, 2, side, side)
    expected = theirs(tile)
    assert expected.shape[2] == remaining
    torch.testing.assert_close(ours.forward_tile(tile), expected)
    with pytest.raises(ValueError, match="expected sides of a tile that 2 poolings divide"):
        ours.forward_tile(tile[:, :, 1:])


def test_the_papers_tile_of_572_gives_388():
    with torch.device("meta"):
        network = UNet(2, 1)
        assert network.forward_tile(torch.empty(1, 1, 572, 572)).shape == (1, 2, 388, 388)
        with pytest.raises(ValueError, match="got 571"):
            network.forward_tile(torch.empty(1, 1, 572, 571))
        with pytest.raises(ValueError, match="got 124"):
            network.forward_tile(torch.empty(1, 1, 124, 124))


def test_unet_labels_the_middle_of_a_picture_as_it_labels_the_tile_around_it():
    """Overlap-tile: with unpadded convolutions the border of the picture does not reach beyond the margin."""
    torch.manual_seed(0)
    network = UNet(3, 1, widths=(4, 6, 8)).eval()
    picture = torch.randn(1, 1, 140, 140)
    whole = network(picture)
    assert whole.shape == (1, 3, 140, 140)
    for row, column in ((0, 0), (4, 8), (16, 20)):  # tiles as large as 92 that the poolings cut in the same places
        inner = network.forward_tile(picture[:, :, row : row + 92, column : column + 92])
        torch.testing.assert_close(inner, whole[:, :, row + 20 : row + 72, column + 20 : column + 72])
    torch.testing.assert_close(network(picture.flip(3).flip(3)), whole)


@pytest.mark.parametrize(("stride", "offsets"), [(32, [19]), (16, [5, 27]), (8, [5, 9, 31])], ids=["32s", "16s", "8s"])
def test_fcn_cuts_out_where_the_release_does(stride: int, offsets: list[int], monkeypatch: pytest.MonkeyPatch):
    seen = []
    cut = striate.models.fcn.crop
    monkeypatch.setattr(striate.models.fcn, "crop", lambda x, first, size: seen.append(first) or cut(x, first, size))
    with torch.device("meta"):
        network = FCN(finest_stride=stride)
        network(torch.empty(1, 3, 500, 500))
    assert seen == offsets


@pytest.mark.parametrize("stride", [32, 16, 8])
@pytest.mark.parametrize(
    ("backbone", "padding"),
    [
        (partial(DENSE, pooled_size=7), 100),
        (partial(DENSE, pooled_size=5), 0),
        (partial(ResNet, depth=18, widths=WIDTHS[:4]), 0),
    ],
)
def test_fcn_puts_scores_where_their_units_stand(backbone, padding: int, stride: int):
    """If each unit scores its own row, every pixel scores its own: positions are kept through all cut-outs and sums."""
    torch.manual_seed(0)
    network = FCN(1, 1, backbone=backbone, padding=padding, finest_stride=stride).eval()
    margin, lost = network.margin, network.lost

    def rows(x: Tensor, step: int) -> Tensor:
        centres = step * torch.arange(x.shape[2], dtype=torch.float32) + (step - 1) / 2 - margin
        return centres.view(1, 1, -1, 1).expand(1, 1, -1, x.shape[3])

    maps = network.maps

    def positions(x: Tensor, stages: list[str]) -> dict[str, Tensor]:
        return {stage: rows(found, network.feature_info[stage].stride) for stage, found in maps(x, stages).items()}

    class Scores(nn.Module):
        """Of the coarsest map the row, of finer ones what is missing from it: nothing."""

        def __init__(self, coarse: bool):
            super().__init__()
            self.coarse = coarse

        def forward(self, x: Tensor) -> Tensor:
            return x if self.coarse else torch.zeros_like(x)

    network.maps = positions
    network.backbone.forward_head = lambda x: x[:, :, lost : x.shape[2] - lost, lost : x.shape[3] - lost]
    network.score_fr = Scores(True)
    for name in ("score_pool4", "score_pool3"):
        if hasattr(network, name):
            setattr(network, name, Scores(False))
    labels = network(torch.zeros(1, 1, 300, 300))[0, 0]
    inside = slice(70, 230)  # further out the bilinear kernels meet the end of their map
    expected = torch.arange(300.0)[inside, None].expand(-1, 160)
    torch.testing.assert_close(labels[inside, inside], expected, rtol=1e-4, atol=1e-3)


def test_a_classifier_turned_into_an_fcn_gives_the_dense_scores_on_one_crop():
    torch.manual_seed(0)
    classifier = DENSE(7, 3, pooled_size=3).double().eval()
    crop = torch.randn(2, 3, 96, 96, dtype=torch.float64)
    expected = classifier(crop)
    scores = fully_convolutional(classifier)(crop)
    network = FCN(7, 3, backbone=deepcopy(classifier)).double().eval()
    with torch.no_grad():
        network.score_fr.weight.copy_(classifier.fc8.weight[:, :, None, None])
        network.score_fr.bias.copy_(classifier.fc8.bias)
    *_, last = network.forward_features(crop).values()
    ours = network.score_fr(network.backbone.forward_head(last))
    assert ours.shape == scores.shape == (2, 7, 1, 1)
    torch.testing.assert_close(ours.flatten(1), expected, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(scores.flatten(1), expected, rtol=1e-12, atol=1e-14)


def test_each_stage_of_fcn_goes_on_from_the_coarser_one():
    torch.manual_seed(0)
    build = partial(FCN, 5, backbone=partial(DENSE, pooled_size=7))
    coarse = build(finest_stride=32).eval()
    with torch.no_grad():
        coarse.score_fr.weight.normal_(0, 0.5)
    picture = torch.randn(1, 3, 96, 128)
    for stride, new in ((16, "score_pool4"), (8, "score_pool3")):
        torch.manual_seed(stride)
        finer = build(finest_stride=stride).eval()
        report = load_weights(finer, coarse.state_dict(), [], source="the coarser one", new_head=False)
        assert {f"{new}.weight", f"{new}.bias"} <= set(report.new)
        assert all(name.startswith(("upscore", new)) for name in report.new)
        assert {"score_fr.weight", "backbone.fc7.weight"} <= set(report.loaded)
        assert not finer.get_submodule(new).weight.any()
        before, after = coarse(picture), finer(picture)
        # Bilinear interpolation in two steps is not quite that in one.
        assert F.cosine_similarity(before.flatten(), after.flatten(), 0) > 0.99
        with torch.no_grad():
            finer.get_submodule(new).weight.normal_(0, 0.1)
        coarse = finer


def test_for_other_classes_all_layers_of_the_classes_are_new():
    torch.manual_seed(0)
    build = partial(FCN, backbone=partial(DENSE, pooled_size=3))
    report = load_weights(build(4), build(7).state_dict(), [], source="others", new_head=True)
    assert {name.partition(".")[0] for name in report.new} == {"score_fr", "score_pool4", "score_pool3", "upscore2",
                                                               "upscore_pool4", "upscore8"}  # fmt: skip


def test_only_what_is_asked_of_fcns_upsampling_learns():
    for upsampling, learning in (("fixed", 0), ("intermediate", 2), ("learned", 3)):
        network = FCN(3, backbone=partial(DENSE, pooled_size=1), upsampling=upsampling)
        names = [name for name, p in network.named_parameters() if name.startswith("upscore") and p.requires_grad]
        assert len(names) == learning
        assert "upscore8.weight" not in names or upsampling == "learned"


def test_deconvnet_on_maps_smaller_than_its_kernel():
    torch.manual_seed(0)
    network = DeconvNet(4, backbone=UNPOOLED, kernel=7, hidden=8).eval()
    for side in (193, 192, 30):
        assert network(torch.randn(1, 3, side, side)).shape == (1, 4, side, side)


def test_segnets_decoder_mirrors_any_configuration():
    network = SegNet(4, backbone=partial(UNPOOLED, configuration="A", batch_norm=False))
    decoder = [name for name, module in network.named_children() if isinstance(module, nn.Conv2d)]
    assert decoder == ["conv5_2_D", "conv5_1_D", "conv4_2_D", "conv4_1_D", "conv3_2_D", "conv3_1_D", "conv2_1_D",
                       "conv1_1_D"]  # fmt: skip


def test_segnet_basic_normalises_the_picture_and_not_more():
    torch.manual_seed(0)
    network = SegNetBasic(4, width=5).eval()
    x = 30 * torch.randn(1, 3, 40, 40)
    usual = network(x)
    network.norm = nn.Identity()
    assert not torch.allclose(network(x), usual)
    plain = SegNetBasic(4, width=5, normalise_input=False)
    assert not any(isinstance(module, nn.LocalResponseNorm) for module in plain.modules())


def test_multi_grid_multiplies_the_dilation_of_the_last_stage():
    network = DeepLabV3(backbone=partial(ResNet, depth=50, widths=(2, 2, 2, 2), output_stride=16), width=4)
    blocks = network.backbone.conv5_x
    assert [block.conv2.dilation[0] for block in blocks] == [2, 4, 8]
    assert [block.conv2.padding[0] for block in blocks] == [2, 4, 8]
    assert all(block.conv2.dilation == (1, 1) for block in network.backbone.conv4_x)


def test_auxiliary_heads_are_counted_where_they_were_built():
    options = {"backbone": partial(ResNet, depth=18, widths=(4, 6, 8, 10))}
    with torch.device("meta"):
        without, with_head = DilatedFCN(5, **options), DilatedFCN(5, auxiliary=True, **options)
    extra = count(with_head, (3, 64, 64)).mult_adds - count(without, (3, 64, 64)).mult_adds
    assert extra == (9 * 8 * 2 + 2 * 5) * 4 * 4
    assert with_head.auxiliary_weights == (0.5,)
    assert len(without.forward_aux(torch.empty(1, 3, 33, 33, device="meta"))) == 1


def test_behead_takes_all_that_makes_no_maps():
    network = behead(DENSE(7, 3, pooled_size=3))
    assert not hasattr(network, "fc6")
    assert network.head == ()
    dense = behead(DENSE(7, 3, pooled_size=3), dense=True)
    assert dense.head == ("fc6", "act6", "drop6", "fc7", "act7", "drop7")
    assert dense.fc6.kernel_size == (3, 3)
    assert dense.num_features == 10
