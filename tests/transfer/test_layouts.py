"""Axes, names and flatten orders of TensorFlow and Keras, against arrays that are computed in their own layout."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pairing import error, randomise

from striate.models.lenet5 import LeNet5
from striate.models.mobilenet import MobileNet
from striate.models.resnet import ResNet
from striate.models.vgg import VGG
from striate.pipelines.expecting import outlined
from striate.transfer.foreign import translate
from striate.transfer.layouts import canonical, flattened_maps, is_keras
from striate.transfer.matching import of_a_library
from striate.transfer.pairs import KERAS, PAIRS
from striate.transfer.reading import WeightFile
from striate.transfer.weights import load_weights

DRAW = np.random.default_rng(0)


def draw(*shape):
    return DRAW.normal(0, (2 / np.prod(shape[:-1])) ** 0.5 if len(shape) > 1 else 0.3, shape).astype(np.float32)


def conv_nhwc(x, kernel, bias, padding):
    """A convolution of (N, H, W, C) with (kh, kw, I, O), written out over the places of the kernel."""
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    height, width = x.shape[1] - kernel.shape[0] + 1, x.shape[2] - kernel.shape[1] + 1
    out = sum(
        x[:, row : row + height, column : column + width] @ kernel[row, column]
        for row in range(kernel.shape[0])
        for column in range(kernel.shape[1])
    )
    return out + bias


def pool_nhwc(x):
    n, height, width, channels = x.shape
    x = x[:, : height // 2 * 2, : width // 2 * 2]
    return x.reshape(n, height // 2, 2, width // 2, 2, channels).max((2, 4))


def load(network, arrays, mapping=None, **options):
    file = WeightFile(None, "", {name: torch.from_numpy(array) for name, array in arrays.items()})
    weights, notes = translate(network, file, mapping, **options)
    load_weights(network, weights, [], source="arrays", new_head=False, optional=["*num_batches_tracked"])
    return notes


def test_a_keras_lenet_that_flattens_rows_columns_channels():
    kernels = {1: draw(5, 5, 1, 6), 3: draw(5, 5, 6, 16)}
    dense = {5: draw(400, 120), 6: draw(120, 84), 7: draw(84, 10)}
    biases = {1: draw(6), 3: draw(16), 5: draw(120), 6: draw(84), 7: draw(10)}
    names = {1: "conv2d", 3: "conv2d_1", 5: "dense", 6: "dense_1", 7: "dense_2"}
    x = DRAW.normal(size=(3, 32, 32, 1)).astype(np.float32)
    maps = x
    for layer in (1, 3):
        maps = pool_nhwc(np.maximum(conv_nhwc(maps, kernels[layer], biases[layer], 0), 0))
    units = maps.reshape(3, -1)
    for layer in (5, 6):
        units = np.maximum(units @ dense[layer] + biases[layer], 0)
    expected = torch.from_numpy(units @ dense[7] + biases[7])

    arrays = {f"{names[layer]}/kernel:0": array for layer, array in (kernels | dense).items()}
    arrays |= {f"{names[layer]}/bias:0": array for layer, array in biases.items()}
    network = LeNet5(10, 1, form="modern", activation="relu", pooling="max").eval()
    ours = {1: "C1", 3: "C3", 5: "C5", 6: "F6", 7: "output"}
    own = [name for name in network.state_dict() if name.endswith("weight")]
    mapping = {f"{names[layer]}.*": f"{own[index].rpartition('.')[0]}.*" for index, layer in enumerate(ours)}
    notes = load(network, arrays, mapping, strict=True)
    assert any("flattened (H, W, C)" in note for note in notes)
    with torch.no_grad():
        assert error(network(torch.from_numpy(x).permute(0, 3, 1, 2)), expected) < 1e-5
    load(network, arrays, mapping, flatten="chw")
    with torch.no_grad():
        assert error(network(torch.from_numpy(x).permute(0, 3, 1, 2)), expected) > 1e-2


def keras_of(network):
    """The tensors of a network as Keras would have them: HWIO, HWC flattening, gamma, beta, moving averages."""
    arrays = {}
    for name, module in network.named_modules():
        if isinstance(module, torch.nn.Conv2d) and module.groups == 1:
            arrays[f"{name}/kernel"] = np.ascontiguousarray(module.weight.detach().numpy().transpose(2, 3, 1, 0))
        elif isinstance(module, torch.nn.Conv2d):
            kernel = module.weight.detach().numpy()  # (C, 1, H, W) → (H, W, C, 1)
            arrays[f"{name}/depthwise_kernel"] = np.ascontiguousarray(kernel.transpose(2, 3, 0, 1))
        elif isinstance(module, torch.nn.Linear):
            arrays[f"{name}/kernel"] = np.ascontiguousarray(module.weight.detach().numpy().T)
        elif isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            keras = {"gamma": module.weight, "beta": module.bias, "moving_mean": module.running_mean}
            keras["moving_variance"] = module.running_var
            arrays |= {f"{name}/{key}": tensor.detach().numpy().copy() for key, tensor in keras.items()}
            continue
        if getattr(module, "bias", None) is not None:
            arrays[f"{name}/bias"] = module.bias.detach().numpy().copy()
    return arrays


def test_depthwise_filters_and_batch_norm():
    source, target = MobileNet(7, width_multiplier=0.25).eval(), MobileNet(7, width_multiplier=0.25).eval()
    randomise(source)
    load(target, keras_of(source))
    x = torch.randn(2, 3, 40, 40)
    with torch.no_grad():
        assert torch.equal(target(x), source(x))


def test_names_of_slim():
    source, target = MobileNet(7, width_multiplier=0.25).eval(), MobileNet(7, width_multiplier=0.25).eval()
    randomise(source)
    arrays = {}
    for name, array in keras_of(source).items():
        layer, _, kind = name.partition("/")
        slim = {"kernel": "weights", "depthwise_kernel": "depthwise_weights", "bias": "biases"}.get(kind, kind)
        arrays[f"MobilenetV1/{layer.replace('.', '/')}/{slim}"] = array
    fc = arrays.pop("MobilenetV1/fc/weights")  # there a convolution of 1×1
    arrays["MobilenetV1/fc/weights"] = fc[None, None]
    load(target, arrays, {"MobilenetV1.*": "*"})
    x = torch.randn(2, 3, 40, 40)
    with torch.no_grad():
        assert torch.equal(target(x), source(x))


def test_the_dense_layer_after_the_map_is_reordered_and_no_other():
    options = {"configuration": "A", "widths": (4, 4, 4, 4, 6), "pooled_size": 2, "hidden": 24}
    source, target = VGG(5, **options).eval(), VGG(5, **options).eval()
    randomise(source)
    assert flattened_maps(source) == {"fc6.weight": 6}
    arrays = keras_of(source)
    by_place = arrays["fc6/kernel"].reshape(6, 2, 2, 24).transpose(1, 2, 0, 3)  # (C, H, W, O) → (H, W, C, O)
    arrays["fc6/kernel"] = np.ascontiguousarray(by_place).reshape(24, 24)
    notes = load(target, arrays)
    assert notes == [
        "axes and names of TensorFlow/Keras were turned into PyTorch's",
        "fc6.weight was reordered: the file's map was flattened (H, W, C)",
    ]
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(target(x), source(x))


@pytest.mark.parametrize("named", [True, False], ids=["by the names in the file", "by PyTorch's"])
def test_arrays_called_w_and_b_with_any_mapping(named):
    source, target = (LeNet5(10, 1, form="modern").eval() for _ in range(2))
    randomise(source)
    arrays, mapping = {}, {}
    for number, (name, array) in enumerate(keras_of(source).items()):
        layer, _, kind = name.partition("/")
        old = f"layer{number // 2}_{'W' if kind == 'kernel' else 'b'}"
        ours = f"{layer}.{'weight' if kind == 'kernel' else 'bias'}"
        arrays[old] = array
        mapping[old if named else f"layer{number // 2}.{ours.rpartition('.')[2]}"] = ours
    assert not is_keras(arrays), "W may be Theano's, whose axes are PyTorch's: a person says it"
    load(target, arrays, mapping, strict=True, layout="keras", flatten="chw")
    x = torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        assert torch.equal(target(x), source(x))


def test_arrays_whose_names_say_nothing_of_their_kind():
    source, target = (LeNet5(10, 1, form="modern").eval() for _ in range(2))
    arrays = {f"p{number}": array for number, array in enumerate(keras_of(source).values())}
    kinds = {"kernel": "weight", "bias": "bias"}
    names = (name.rpartition("/") for name in keras_of(source))
    mapping = {f"p{number}": f"{layer}.{kinds[kind]}" for number, (layer, _, kind) in enumerate(names)}
    load(target, arrays, mapping, strict=True, layout="keras", flatten="chw")
    x = torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        assert torch.equal(target(x), source(x))


@pytest.mark.parametrize("style", ["{}_W {}_b", "{}/weights {}/biases"])
def test_old_names_of_vgg(style):
    options = {"configuration": "A", "widths": (4, 4, 4, 4, 6), "pooled_size": 1, "hidden": 8}
    source, target = VGG(5, **options).eval(), VGG(5, **options).eval()
    randomise(source)
    kinds, arrays = dict(zip(("kernel", "bias"), style.split(), strict=True)), {}
    for name, array in keras_of(source).items():
        layer, _, kind = name.partition("/")
        arrays[kinds[kind].format(layer)] = array
    assert is_keras(arrays) == ("weights" in style)
    load(target, arrays, layout="auto" if "weights" in style else "keras")
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(target(x), source(x))


def keras_name(layer):
    """keras.applications' name of a layer of our ResNet."""
    if layer in ("conv1", "bn1"):
        return f"conv1_{layer.removesuffix('1')}"
    if layer == "fc":
        return "predictions"
    stage, block, inner = layer.split(".", 2)
    kind, number = ("bn" if "bn" in inner else "conv"), (0 if inner.startswith("shortcut") else inner[-1])
    return f"{stage.removesuffix('_x')}_block{block.rpartition('_')[2]}_{number}_{kind}"


def test_the_biases_of_keras_before_batch_norm_come_off_its_means():
    options = {"depth": 50, "widths": (4, 4, 6, 6), "batch_norm_eps": 1.001e-5}
    source, target = ResNet(5, **options).eval(), ResNet(5, **options).eval()
    for module in source.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.bias = torch.nn.Parameter(torch.empty(module.out_channels))
    randomise(source)
    arrays = {}
    for name, array in keras_of(source).items():
        layer, _, kind = name.partition("/")
        arrays[f"{keras_name(layer)}/{keras_name(layer)}/{kind}:0"] = array
    pair = next(pair for pair in PAIRS if pair.library == KERAS)
    notes = load(target, arrays, pair.mapping)
    assert any("53 biases before batch norm (conv1.bias …)" in note for note in notes)
    x = torch.randn(2, 3, 40, 40)
    with torch.no_grad():
        assert error(target(x), source(x)) < 1e-5
    source.train(), target.train()
    assert error(target(x), source(x)) < 1e-3, "a batch's own statistics contain the bias"
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    node = {"_target_": "striate.models.resnet.ResNet", "depth": 50, "widths": [4, 4, 6, 6]}
    found = of_a_library(node, canonical(tensors, "auto")[0], outlined)
    assert found.model == {**node, "batch_norm_eps": 1.001e-5}
    assert (found.proposal.missing, found.proposal.extra) == ([], [])


def test_numbered_variables_of_keras_3():
    arrays = {
        "layers/conv2d/vars/0": draw(3, 3, 2, 5), "layers/conv2d/vars/1": draw(5),
        "layers/batch_normalization/vars/0": draw(5), "layers/batch_normalization/vars/1": draw(5),
        "layers/batch_normalization/vars/2": draw(5), "layers/batch_normalization/vars/3": draw(5),
        "layers/dense/vars/0": draw(5, 4), "layers/dense/vars/1": draw(4),
    }  # fmt: skip
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    assert is_keras(tensors)
    named, layout = canonical(tensors, "auto")
    assert layout == "keras"
    assert {name: tuple(tensor.shape) for name, tensor in named.items()} == {
        "layers.conv2d.weight": (5, 2, 3, 3), "layers.conv2d.bias": (5,),
        "layers.batch_normalization.weight": (5,), "layers.batch_normalization.bias": (5,),
        "layers.batch_normalization.running_mean": (5,), "layers.batch_normalization.running_var": (5,),
        "layers.dense.weight": (4, 5), "layers.dense.bias": (4,),
    }  # fmt: skip


def test_pytorchs_own_layout_is_left_as_it_is():
    tensors = {
        "conv.weight": torch.zeros(5, 5, 3, 3),
        "fc.weight": torch.zeros(4, 4),
        "bn.running_mean": torch.zeros(5),
    }
    assert not is_keras(tensors)
    named, layout = canonical(tensors, "auto")
    assert layout == "torch"
    assert all(named[name] is tensor for name, tensor in tensors.items())
    assert canonical(tensors, "keras")[1] == "keras", "unless a person says otherwise"


@pytest.mark.parametrize("flatten", ["chw", "hwc"])
def test_a_dense_layer_over_a_map_becomes_a_convolution_over_it(flatten):
    x, dense = torch.randn(2, 3, 4, 4), torch.randn(7, 48)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 7, 4, bias=False))
    network.classifier_name = "0"
    file = WeightFile(None, "", {"0.weight": dense})
    weights, _ = translate(network, file, None, flatten=flatten)
    flat = x.flatten(1) if flatten == "chw" else x.permute(0, 2, 3, 1).flatten(1)
    torch.testing.assert_close(F.conv2d(x, weights["0.weight"]).flatten(1), flat @ dense.T)
