"""What the papers print of their networks: sizes, costs, receptive fields, errors; and where a print is wrong.

A figure is kept as printed, so that its last digit says how far it is rounded (`printed.py` compares). Notes say in our
words why an exact count differs. Nothing here is used to compute anything.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Shape = tuple[int, int, int]
IMAGENET, CIFAR = (3, 224, 224), (3, 32, 32)


@dataclass(frozen=True)
class Paper:
    """A publication. Attributes: authors; year; where: how to find it."""

    authors: str
    year: int
    where: str

    def __str__(self) -> str:
        return f"{self.authors} {self.year}"


@dataclass(frozen=True)
class Figure:
    """A figure as it is printed.

    Attributes:
        quantity: one of `printed.QUANTITIES`.
        printed: the number and its unit: K, M, G, Ki (1,024) or %.
        source: where it is printed.
        part: what it counts: a layer or the layers below a name, one of `printed.KINDS`, "!NAME" for all but NAME; ""
            for the whole network.
        note: why the exact figure is another, or how to read this one.
        digits: significant digits, where zeros at the end of a whole number only fill.
    """

    quantity: str
    printed: str
    source: str
    part: str = ""
    note: str = ""
    digits: int | None = None


@dataclass(frozen=True)
class Score:
    """A published error.

    Attributes:
        data: set and split.
        protocol: how it was tested.
        source: where it is printed.
        top1, top5: errors in percent.
    """

    data: str
    protocol: str
    source: str
    top1: float | None = None
    top5: float | None = None


@dataclass(frozen=True)
class Entry:
    """What is printed of one network.

    Attributes:
        model: the option of `conf/model`.
        options: what differs from the option's values.
        input: (C, H, W) that the figures are for.
        figures: in the order of the papers.
        scores: the first is the headline.
        notes: slips in papers and in teaching material, and how a gap in a paper was filled.
        paper: where it is not that of its class.
    """

    model: str
    figures: tuple[Figure, ...] = ()
    scores: tuple[Score, ...] = ()
    notes: tuple[str, ...] = ()
    input: Shape = IMAGENET
    options: Mapping[str, Any] = field(default_factory=dict)
    paper: Paper | None = None


PAPERS = {  # by class
    "MLP": Paper("Nielsen", 2015, "Neural Networks and Deep Learning, chapter 1"),
    "LeNet5": Paper("LeCun et al.", 1998, "Proc. IEEE 86(11)"),
    "AlexNet": Paper("Krizhevsky et al.", 2012, "NIPS 25"),
    "CifarConvNet": Paper("Krizhevsky et al.", 2012, "NIPS 25, Fig. 1"),
    "ZFNet": Paper("Zeiler & Fergus", 2013, "arXiv:1311.2901"),
    "VGG": Paper("Simonyan & Zisserman", 2014, "arXiv:1409.1556"),
    "GoogLeNet": Paper("Szegedy et al.", 2014, "arXiv:1409.4842"),
    "ResNet": Paper("He et al.", 2015, "arXiv:1512.03385"),
    "CifarResNet": Paper("He et al.", 2015, "arXiv:1512.03385, sec. 4.2"),
    "MobileNet": Paper("Howard et al.", 2017, "arXiv:1704.04861"),
    "FCN": Paper("Long et al.", 2015, "arXiv:1411.4038"),
    "DeconvNet": Paper("Noh et al.", 2015, "arXiv:1505.04366"),
    "SegNet": Paper("Badrinarayanan et al.", 2017, "arXiv:1511.00561"),
    "SegNetBasic": Paper("Badrinarayanan et al.", 2017, "arXiv:1511.00561, sec. 3.1"),
    "UNet": Paper("Ronneberger et al.", 2015, "arXiv:1505.04597"),
    "BackboneUNet": Paper("Ronneberger et al.", 2015, "arXiv:1505.04597, on a backbone"),
    "DeepLabV1": Paper("Chen et al.", 2014, "arXiv:1412.7062"),
    "DeepLabV2": Paper("Chen et al.", 2016, "arXiv:1606.00915"),
    "DeepLabV3": Paper("Chen et al.", 2017, "arXiv:1706.05587"),
    "DilatedFCN": Paper("Long et al.", 2015, "arXiv:1411.4038, as torchvision has it"),
}

_HOWARD, _HE, _FCN = "Howard et al. 2017", "He et al. 2015", "Long et al. 2015, Table 1"
_VAL = "ILSVRC-2012 val"
_TEN, _DENSE, _ONE = "10 crops", "dense, one scale (256)", "1 crop"


def _vgg(
    model: str,
    parameters: str,
    top1: float,
    top5: float,
    *more: Figure,
    notes: tuple[str, ...] = (),
    scores: tuple[Score, ...] = (),
) -> Entry:
    own = "Simonyan & Zisserman 2014"
    return Entry(
        model,
        (
            Figure("parameters", parameters, f"{own}, Table 2"),
            *more,
            Figure("receptive_field", "404", _FCN, "fc6")
            if model == "vgg16"
            else Figure("side", "7", f"{own}, sec. 3.2", "pool5"),
        ),
        (Score(_VAL, _DENSE, f"{own}, Table 3", top1, top5), *scores),
        notes,
    )


def _vgg_many_views(top1: float, top5: float, with_crops1: float, with_crops5: float) -> tuple[Score, Score]:
    own = "Simonyan & Zisserman 2014"
    return (
        Score(_VAL, "dense, three scales, trained with scale jitter", f"{own}, Table 4", top1, top5),
        Score(_VAL, "dense and 150 crops, trained with scale jitter", f"{own}, Table 5", with_crops1, with_crops5),
    )


def _googlenet_rows() -> tuple[Figure, ...]:
    """Table 1, row by row: name, weights in units of 1,024, millions of operations; and why a row differs."""
    stem = "no dense 7×7 filter of 3 maps; a separable one (8 maps a channel, then 1×1) would have 2,712 and 34.0 M"
    slip, near = "disagrees with the filter counts of its own row", "off by one in the last digit"
    rows = (
        ("conv1", "2.7", "34", stem, stem),
        ("conv2", "112", "360", "", ""),
        ("inception3a", "159", "128", "", ""),
        ("inception3b", "380", "304", near, ""),
        ("inception4a", "364", "73", slip, ""),
        ("inception4b", "437", "88", near, ""),
        ("inception4c", "463", "100", slip, ""),
        ("inception4d", "580", "119", slip, ""),
        ("inception4e", "840", "170", slip, ""),
        ("inception5a", "1072", "54", slip, slip),
        ("inception5b", "1388", "71", slip, ""),
        ("fc", "1000", "1", "", ""),
    )
    table = "Szegedy et al. 2014, Table 1"
    return tuple(
        figure
        for part, weights, operations, of_weights, of_operations in rows
        for figure in (
            Figure("weights", f"{weights} Ki", table, part, of_weights),
            Figure("mult_adds", f"{operations} M", table, part, of_operations),
        )
    )


def _mobilenet(width: float, side: int, table: str, mult_adds: str, parameters: str, top1: float | None) -> Entry:
    source = f"{_HOWARD}, {table}"
    scores = (Score(_VAL, f"{_ONE} (not stated)", source, top1),) if top1 else ()
    figures = (Figure("parameters", parameters, source), Figure("mult_adds", mult_adds, source))
    options = {} if width == 1 else {"width_multiplier": width}
    return Entry("mobilenet", figures, scores, (), (3, side, side), options)


def _residual(
    depth: int, mult_adds: str, top1: float, top5: float | None, many: tuple[float, float] | None = None
) -> Entry:
    """Error of ten crops, and of whole pictures at several scales."""
    protocol, table = (f"{_TEN}, option A", "Table 2") if top5 is None else (_TEN, "Table 3")
    scores = (Score(_VAL, protocol, f"{_HE}, {table}", top1, top5),)
    scales = (Score(_VAL, "dense, five scales (224 to 640)", f"{_HE}, Table 4", *many),) if many else ()
    return Entry(f"resnet{depth}", (Figure("mult_adds", mult_adds, f"{_HE}, Table 1"),), scores + scales)


def _cifar(depth: int, parameters: str, top1: float) -> Entry:
    protocol = "best of 5 runs" if depth == 110 else "1 view"
    return Entry(
        f"resnet{depth}",
        (Figure("parameters", parameters, f"{_HE}, Table 6"),),
        (Score("CIFAR-10 test", protocol, f"{_HE}, Table 6", top1),),
        input=CIFAR,
    )


def _deeplab(parameters: str, **options: Any) -> Entry:
    figure = Figure("parameters", parameters, "Chen et al. 2014, Table 2")
    return Entry("deeplab_largefov", (figure,), input=(3, 321, 321), options=options)


_LENET = "LeCun et al. 1998, sec. II-B"
_ALEX = "Krizhevsky et al. 2012"

ENTRIES = (
    Entry(
        "mlp",
        scores=(Score("MNIST test", "best of 30 epochs", "Nielsen 2015, chapter 1", 4.58),),
        input=(1, 28, 28),
    ),
    Entry(
        "lenet5",
        (
            Figure("parameters", "60,000", _LENET),
            Figure("connections", "340,908", _LENET),
            *(
                Figure("parameters", printed, _LENET, part)
                for part, printed in {
                    "C1": "156", "S2": "12", "C3": "1,516", "S4": "32", "C5": "48,120", "F6": "10,164",
                }.items()
            ),
            *(
                Figure("connections", printed, _LENET, part)
                for part, printed in {"C1": "122,304", "S2": "5,880", "C3": "151,600", "S4": "2,000"}.items()
            ),
            Figure("connections", "48,120", _LENET, "C5"),
        ),
        (Score("MNIST test", "no distortions", "LeCun et al. 1998", 0.95),),
        (
            "S4 has 32 parameters, a coefficient and a bias for each of 16 maps (often given as 12, which is S2), and "
            "C5 has 48,120 (120 · (5·5·16 + 1), often given as 42,120): only so the sum is 60,000.",
            "The digits are 20×20 in pictures of 28×28, which lie in a field of 32×32; nothing is cropped.",
            "The 840 centres of the output units are fixed and not among the 60,000.",
        ),
        (1, 32, 32),
    ),
    Entry(
        "alexnet",
        (
            Figure("parameters", "60 M", f"{_ALEX}, abstract"),
            Figure("mult_adds", "720 M", f"{_HOWARD}, Table 9", digits=2),
            Figure(
                "activations", "253,440", f"{_ALEX}, Fig. 2", "conv1",
                "55·55·96 = 290,400; the printed list sums to 622,312, with 290,400 to 659,272, the abstract's 650,000",
            ),
            *(
                Figure("activations", printed, f"{_ALEX}, Fig. 2", part)
                for part, printed in {
                    "conv2": "186,624", "conv3": "64,896", "conv4": "64,896", "conv5": "43,264", "fc6": "4,096",
                }.items()
            ),
            Figure("receptive_field", "355", _FCN, "fc6"),
        ),
        (
            Score(_VAL, _TEN, f"{_ALEX}, Table 2", 40.7, 18.2),
            Score("ILSVRC-2010 test", _TEN, f"{_ALEX}, Table 1", 37.5, 17.0),
            Score(_VAL, "not stated", f"{_HOWARD}, Table 9", 42.8),
        ),
        (
            "The paper prints an input of 224×224, for which (224 − 11)/4 + 1 is no whole number; 227×227 without "
            "padding and 224×224 with a padding of 2 both give its maps of 55×55 and the same counts.",
            "62.4 million parameters, often quoted, are those of one tower without groups (alexnet_one_tower).",
            "One network, 40.7 and 18.2 %; the 15.3 % of the challenge are seven networks, two of them pre-trained.",
        ),
        (3, 227, 227),
    ),
    Entry("cifar_convnet", input=CIFAR),
    Entry("alexnet_one_tower", paper=Paper("Krizhevsky", 2014, "arXiv:1404.5997")),
    Entry(
        "zfnet",
        tuple(
            Figure("side", printed, "Zeiler & Fergus 2013, Fig. 3", part)
            for part, printed in {
                "conv1": "110", "pool1": "55", "conv2": "26", "pool2": "13", "conv3": "13", "conv4": "13",
                "conv5": "13", "pool5": "6",
            }.items()
        ),
        (Score(_VAL, "one network", "Zeiler & Fergus 2013, Table 2", 38.4, 16.5),),
        (
            "The maps of Fig. 3 need a padding of 1 in conv1 and windows over the border in pool1 and pool2, of which "
            "the paper says nothing.",
            "11.2 %, often given as its top-5 error, is the challenge entry of 2013 by Clarifai with outside data; the "
            "paper's best figure is 14.8 % with six networks.",
            "It changes more than conv1: conv2 has stride 2, no layer has groups, and filters are renormalised.",
        ),
    ),
    _vgg("vgg11", "133 M", 29.6, 10.4),
    _vgg("vgg13", "133 M", 28.7, 9.9),
    _vgg("vgg16_c", "134 M", 28.1, 9.4, notes=("Configuration C has filters of 1×1: not every VGG is all 3×3.",)),
    _vgg(
        "vgg16", "138 M", 27.0, 8.8,
        Figure("mult_adds", "15.3 G", f"{_HE}, sec. 4.1", "convolutions", "counts convolutions only; 15.47 G in all"),
        Figure("mult_adds", "15300 M", f"{_HOWARD}, Table 8", "convolutions", "counts convolutions only", digits=3),
        Figure("parameters", "138 M", f"{_HOWARD}, Table 8"),
        Figure("receptive_field", "5", "Simonyan & Zisserman 2014, sec. 2.3", "conv1_2"),
        notes=(
            "A table of its layers in wide circulation gives pool2 65,664 parameters and a total of 138,423,208: "
            "pooling has none, and the total is 138,357,544.",
            "7.3 % is the test error of the seven networks submitted; one network (E, several scales) has 7.3 % too.",
        ),
        scores=(
            *_vgg_many_views(24.8, 7.5, 24.4, 7.2),
            Score(_VAL, _TEN, f"{_HE}, Table 3", 28.07, 9.33),
            Score(_VAL, "not stated", f"{_HOWARD}, Table 8", 28.5),
        ),
    ),
    _vgg(
        "vgg19", "144 M", 27.3, 9.0,
        Figure("mult_adds", "19.6 G", f"{_HE}, Fig. 3", note="with the dense layers, unlike the 15.3 G for VGG-16"),
        scores=_vgg_many_views(24.8, 7.5, 24.4, 7.1),
    ),
    Entry(
        "googlenet",
        (
            *_googlenet_rows(),
            Figure(
                "parameters", "6.8 M", f"{_HOWARD}, Table 8",
                note="the sum of the paper's Table 1: weights only, in units of 1,024, some rows wrong",
            ),
            Figure(
                "mult_adds", "1550 M", f"{_HOWARD}, Table 8",
                note="between 1,499 M with a separable stem and 1,583 M with a dense one; neither gives it", digits=3,
            ),
            Figure("receptive_field", "907", _FCN, "avgpool"),
        ),
        (
            Score(_VAL, _ONE, "Szegedy et al. 2014, Table 3", None, 10.07),
            Score(_VAL, _TEN, "Szegedy et al. 2014, Table 3", None, 9.15),
            Score(_VAL, "144 crops", "Szegedy et al. 2014, Table 3", None, 7.89),
            Score(_VAL, "not stated", f"{_HOWARD}, Table 8", 30.2),
        ),
        ("6.67 % is the error of seven networks on 144 crops each.", "It is GoogLeNet, after LeNet; not GoogleNet."),
    ),
    Entry("plain18", scores=(Score(_VAL, _TEN, f"{_HE}, Table 2", 27.94),)),
    Entry(
        "plain34",
        (Figure("mult_adds", "3.6 G", f"{_HE}, Fig. 3"),),
        (Score(_VAL, _TEN, f"{_HE}, Tables 2 and 3", 28.54, 10.02),),
        (
            "The paper does not blame vanishing gradients: with batch normalisation the signals stay healthy both "
            "ways; deep plain networks are hard to optimise.",
        ),
    ),
    _residual(18, "1.8 G", 27.88, None),
    _residual(34, "3.6 G", 24.52, 7.46, (21.84, 5.71)),
    _residual(50, "3.8 G", 22.85, 6.71, (20.74, 5.25)),
    _residual(101, "7.6 G", 21.75, 6.05, (19.87, 4.60)),
    _residual(152, "11.3 G", 21.43, 5.71, (19.38, 4.49)),
    _cifar(20, "0.27 M", 8.75),
    _cifar(32, "0.46 M", 7.51),
    _cifar(44, "0.66 M", 7.17),
    _cifar(56, "0.85 M", 6.97),
    _cifar(110, "1.7 M", 6.43),
    _cifar(1202, "19.4 M", 7.93),
    Entry(
        "fcn32s",
        (
            Figure("parameters", "134 M", _FCN, "!upscore32"),
            Figure("receptive_field", "404", _FCN, "backbone.fc6"),
        ),
        notes=("The paper does not count the fixed kernels of the upsampling, here 1,806,336.",),
        input=(3, 500, 500),
    ),
    Entry("deconvnet", (Figure("parameters", "252 M", "Noh et al. 2015"),)),
    Entry(
        "segnet_basic",
        notes=(
            "The paper prints 1.425 million parameters and says that there are no biases: the weights are 1,415,040, "
            "with biases as released 1,416,587; nothing in its description gives the rest.",
        ),
        input=(3, 360, 480),
    ),
    _deeplab("20.5 M"),
    _deeplab("134.3 M", kernel=7, rate=4, hidden=4096),
    _deeplab("65.1 M", kernel=4, rate=4, hidden=4096),
    Entry(
        "mobilenet",
        (
            Figure("parameters", "4.2 M", f"{_HOWARD}, Tables 4 to 8"),
            Figure("mult_adds", "569 M", f"{_HOWARD}, Tables 4 to 8"),
            Figure("parameters", "3.2 M", f"{_HOWARD}, Table 12", "!fc"),
            Figure("mult_adds", "568 M", f"{_HOWARD}, Table 12", "!fc"),
            Figure("mult_adds_share", "94.86 %", f"{_HOWARD}, Table 2", "1×1 convolutions"),
            Figure("mult_adds_share", "3.06 %", f"{_HOWARD}, Table 2", "depthwise convolutions"),
            Figure(
                "mult_adds_share", "1.19 %", f"{_HOWARD}, Table 2", "3×3 convolutions",
                "1.91 %; the other three shares are right, and only so their sum is 100",
            ),
            Figure("mult_adds_share", "0.18 %", f"{_HOWARD}, Table 2", "linear layers"),
            Figure("weights_share", "74.59 %", f"{_HOWARD}, Table 2", "1×1 convolutions"),
            Figure("weights_share", "1.06 %", f"{_HOWARD}, Table 2", "depthwise convolutions"),
            Figure("weights_share", "0.02 %", f"{_HOWARD}, Table 2", "3×3 convolutions"),
            Figure("weights_share", "24.33 %", f"{_HOWARD}, Table 2", "linear layers"),
        ),
        (Score(_VAL, f"{_ONE} (not stated)", f"{_HOWARD}, Tables 4 to 8", 29.4),),
        (
            "Table 1 prints stride 2 for the last depthwise layer; its maps, 7×7 before and after, and the 569 million "
            "need stride 1 (with 2 it would be 534 million).",
            "Section 4.4 says 0.58 million multiply-adds and means billion.",
        ),
    ),
    _mobilenet(1, 192, "Table 7", "418 M", "4.2 M", 30.9),
    _mobilenet(1, 160, "Table 7", "290 M", "4.2 M", 32.8),
    _mobilenet(1, 128, "Table 7", "186 M", "4.2 M", 35.6),
    _mobilenet(0.75, 224, "Tables 5 and 6", "325 M", "2.6 M", 31.6),
    _mobilenet(0.75, 192, "Table 10", "239 M", "2.6 M", None),
    _mobilenet(0.5, 224, "Table 6", "149 M", "1.3 M", 36.3),
    Entry(
        "mobilenet",
        (
            Figure("weights", "1.32 M", f"{_HOWARD}, Table 9", note="weights alone, no biases and no normalisation"),
            Figure("mult_adds", "76 M", f"{_HOWARD}, Table 9"),
        ),
        (Score(_VAL, f"{_ONE} (not stated)", f"{_HOWARD}, Table 9", 39.8),),
        input=(3, 160, 160),
        options={"width_multiplier": 0.5},
    ),
    Entry(
        "mobilenet",
        (
            Figure("parameters", "0.5 M", f"{_HOWARD}, Table 6"),
            Figure("mult_adds", "41 M", f"{_HOWARD}, Table 6"),
            Figure("mult_adds", "45 M", f"{_HOWARD}, Table 12", "!fc", "40.8 M; Table 6 has 41 M with the classifier"),
        ),
        (Score(_VAL, f"{_ONE} (not stated)", f"{_HOWARD}, Table 6", 49.4),),
        options={"width_multiplier": 0.25},
    ),
    Entry(
        "mobilenet",
        (
            Figure("parameters", "29.3 M", f"{_HOWARD}, Table 4"),
            Figure("mult_adds", "4866 M", f"{_HOWARD}, Table 4", "!fc", "without the classifier, unlike other tables"),
        ),
        (Score(_VAL, f"{_ONE} (not stated)", f"{_HOWARD}, Table 4", 28.3),),
        options={"full_convolution": True},
    ),
    Entry(
        "mobilenet",
        (
            Figure("parameters", "2.9 M", f"{_HOWARD}, Table 5"),
            Figure("mult_adds", "307 M", f"{_HOWARD}, Table 5"),
        ),
        (Score(_VAL, f"{_ONE} (not stated)", f"{_HOWARD}, Table 5", 34.7),),
        options={"shallow": True},
    ),
)  # fmt: skip
