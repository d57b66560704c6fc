import copy
import os
from pathlib import Path

import pytest
import torch
from resnets import MEAN, STD, rename, resnet_layers, resnet_names
from torch import nn
from torch.nn import functional as F

from atlas.cards.names import sha256_of
from atlas.errors import AtlasError
from atlas.models import network
from atlas.models.layers import LAYERS

SHARED = Path(os.environ.get("ATLAS_SHARED", Path(__file__).parents[3] / "shared"))
LINEAR = {"type": "linear", "in_features": 3, "out_features": 2}
CONV = {"type": "conv", "in_channels": 3, "out_channels": 4, "kernel_size": 3}

# One layer of each type, or more where options matter: description, item, the same layer in plain torch.
EXAMPLES = [
    (LINEAR, (3,), lambda: nn.Linear(3, 2)),
    ({**LINEAR, "bias": False}, (3,), lambda: nn.Linear(3, 2, bias=False)),
    (
        {**CONV, "in_channels": 4, "stride": 2, "padding": 2, "dilation": 2, "groups": 2},
        (4, 9, 7),
        lambda: nn.Conv2d(4, 4, 3, 2, 2, 2, 2),
    ),
    (
        {**CONV, "type": "transposed-conv", "stride": 2, "padding": 1, "output_padding": 1},
        (3, 4, 5),
        lambda: nn.ConvTranspose2d(3, 4, 3, 2, 1, 1),
    ),
    ({"type": "max-pool", "kernel_size": 3, "stride": 2, "padding": 1}, (2, 6, 7), lambda: nn.MaxPool2d(3, 2, 1)),
    ({"type": "avg-pool", "kernel_size": 2, "stride": 1}, (2, 6, 7), lambda: nn.AvgPool2d(2, 1)),
    ({"type": "global-avg-pool"}, (2, 6, 7), lambda: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())),
    ({"type": "flatten"}, (2, 6, 7), lambda: nn.Flatten()),
    ({"type": "unflatten", "shape": [2, 3, 1]}, (6,), lambda: nn.Unflatten(1, (2, 3, 1))),
    ({"type": "subsample-pad", "stride": 2, "pad": 2}, (2, 5, 6), lambda: Shrink(2)),
    ({"type": "batch-norm", "features": 3}, (3, 4, 4), lambda: nn.BatchNorm2d(3)),
    ({"type": "batch-norm", "features": 5, "eps": 0.1}, (5,), lambda: nn.BatchNorm1d(5, eps=0.1)),
    ({"type": "layer-norm", "features": 5, "eps": 0.1}, (5,), lambda: nn.LayerNorm(5, eps=0.1)),
    ({"type": "layer-norm", "features": 5, "affine": False}, (5,), lambda: nn.LayerNorm(5, elementwise_affine=False)),
    ({"type": "normalize", "mean": MEAN, "std": STD}, (3, 4, 5), lambda: Standard()),
    ({"type": "residual", "body": [{"type": "tanh"}]}, (3, 4), lambda: Sum(nn.Tanh(), nn.Identity())),
    (
        {"type": "residual", "body": [LINEAR], "shortcut": [{**LINEAR, "bias": False}, {"type": "relu"}]},
        (3,),
        lambda: Sum(nn.Sequential(nn.Linear(3, 2)), nn.Sequential(nn.Linear(3, 2, bias=False), nn.ReLU())),
    ),
    ({"type": "relu"}, (5,), nn.ReLU),
    ({"type": "leaky-relu"}, (5,), nn.LeakyReLU),
    ({"type": "leaky-relu", "negative_slope": 0.3}, (5,), lambda: nn.LeakyReLU(0.3)),
    ({"type": "elu", "alpha": 2}, (5,), lambda: nn.ELU(2.0)),
    ({"type": "gelu"}, (2, 3), nn.GELU),
    ({"type": "silu"}, (5,), nn.SiLU),
    ({"type": "tanh"}, (5,), nn.Tanh),
    ({"type": "sigmoid"}, (5,), nn.Sigmoid),
]


class Sum(nn.Module):
    def __init__(self, body, shortcut):
        super().__init__()
        self.body, self.shortcut = body, shortcut

    def forward(self, x):
        return self.body(x) + self.shortcut(x)


class Standard(nn.Module):
    def forward(self, x):
        return torch.stack([(x[:, i] - MEAN[i]) / STD[i] for i in range(3)], 1)


class Shrink(nn.Module):
    def __init__(self, pad):
        super().__init__()
        self.pad = pad

    def forward(self, x):
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.pad, self.pad), "constant", 0)


class Block(nn.Module):
    """The basic block of He et al. (2015), written without the module under test."""

    def __init__(self, d_in, d_out, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(d_in, d_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(d_out)
        self.conv2 = nn.Conv2d(d_out, d_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(d_out)
        self.shortcut = Shrink(d_out // 4) if stride != 1 else nn.Identity()

    def forward(self, x):
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(out + self.shortcut(x))


class ResNet(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        stages = [[Block(16, 16, 1) for _ in range(n)]]
        for width in 32, 64:
            stages.append([Block(width // 2, width, 2), *(Block(width, width, 1) for _ in range(n - 1))])
        self.layer1, self.layer2, self.layer3 = (nn.Sequential(*stage) for stage in stages)
        self.linear = nn.Linear(64, 10)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1((x - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1))))
        return self.linear(self.layer3(self.layer2(self.layer1(x))).mean((2, 3)))


def scramble(net, seed=0):
    """Give every tensor of a network random values, variances positive ones."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in net.state_dict().items():
        if name.endswith("var"):
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
        elif tensor.is_floating_point():
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.3)
    return net.eval()


def counted_out(net):
    return {name: tensor for name, tensor in net.state_dict().items() if not name.endswith("num_batches_tracked")}


@pytest.mark.parametrize(
    ("layer", "item", "make"), EXAMPLES, ids=lambda value: value.get("type", "") if isinstance(value, dict) else ""
)
def test_layer_computes_what_plain_torch_does(layer, item, make):
    reference = scramble(make())
    net = network.load([layer], {f"0.{name}": tensor for name, tensor in counted_out(reference).items()})
    x = torch.randn(4, *item, generator=torch.Generator().manual_seed(1))
    assert torch.equal(net(x), reference(x))
    assert network.output_shape([layer], item) == tuple(reference(x).shape[1:])


def test_examples_cover_the_table():
    assert {layer["type"] for layer, _, _ in EXAMPLES} == set(LAYERS)


def test_resnet_equals_plain_torch_bit_for_bit():
    reference = scramble(ResNet(3))
    net = network.load(resnet_layers(20), rename(counted_out(reference), 20))
    x = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    assert torch.equal(net(x), reference(x))
    assert network.output_shape(resnet_layers(20), (3, 32, 32)) == (10,)
    assert network.output_shape(resnet_layers(20)[:-1], (3, 32, 32)) == (64,)


def test_names_of_tensors_say_where_they_are():
    names = network.build(resnet_layers(20)).state_dict()
    assert {"1.weight", "2.running_mean", "4.body.0.weight", "23.bias"} <= set(names)
    assert set(resnet_names(20).values()) == {name.rpartition(".")[0] for name in names}


@pytest.mark.parametrize("depth", [20, 32])
def test_public_resnets_classify_cifar(depth):
    weights = SHARED / f"models/cifar10-resnet{depth}/model.safetensors"
    images = SHARED / "data/cifar10/test"
    if not weights.exists() or not images.exists():
        pytest.skip("needs the CIFAR ResNets and images: set ATLAS_SHARED")
    np, Image = pytest.importorskip("numpy"), pytest.importorskip("PIL.Image")
    from safetensors.torch import load_file

    net = network.load(resnet_layers(depth), rename(load_file(weights), depth))
    files = [
        (file, label) for label, folder in enumerate(sorted(images.iterdir())) for file in sorted(folder.iterdir())[:30]
    ]
    pixels = np.stack([np.asarray(Image.open(file).convert("RGB")) for file, _ in files])
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255
    right = net(x).argmax(1) == torch.tensor([label for _, label in files])
    assert right.float().mean() > 0.75


def test_built_network_takes_no_memory_and_loaded_one_is_ready_to_use():
    net = network.build([{"type": "linear", "in_features": 2**24, "out_features": 2**20}])
    assert {p.device.type for p in net.parameters()} == {"meta"}
    loaded = network.load([LINEAR], {"0.weight": torch.ones(2, 3, dtype=torch.float16), "0.bias": torch.zeros(2)})
    assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())
    assert loaded[0].weight.dtype == torch.float32


def test_loaded_network_passes_gradients_to_its_input():
    net = network.load([LINEAR], {"0.weight": torch.ones(2, 3), "0.bias": torch.zeros(2)})
    x = torch.zeros(1, 3, requires_grad=True)
    net(x).sum().backward()
    assert x.grad.tolist() == [[2.0, 2.0, 2.0]]


def test_initialise_draws_as_torch_does_from_the_seed_alone():
    layers = [CONV, {"type": "batch-norm", "features": 4}, {"type": "flatten"}, {**LINEAR, "in_features": 400}]
    layers += [{"type": "layer-norm", "features": 2}, {**CONV, "type": "transposed-conv", "out_channels": 40}]
    before = torch.random.get_rng_state()
    a, b, c = (network.initialise(layers, seed) for seed in (0, 0, 1))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(a.state_dict()[name], b.state_dict()[name]) for name in a.state_dict())
    assert not torch.equal(a[0].weight, c[0].weight)
    assert a.training and all(p.requires_grad for p in a.parameters())
    plain = [nn.Conv2d(3, 4, 3), nn.Linear(400, 2), nn.ConvTranspose2d(3, 40, 3)]
    for mine, theirs in zip([a[0], a[3], a[5]], plain, strict=True):
        # Uniform in the same range: with a hundred values or more, the largest come close to the bound.
        torch.testing.assert_close(mine.weight.abs().max(), theirs.weight.abs().max(), rtol=0.15, atol=0)
        assert mine.bias.abs().max() <= theirs.weight.abs().max() * 1.15 and mine.bias.abs().max() > 0
    assert a[1].weight.tolist() == a[1].running_var.tolist() == [1.0] * 4
    assert a[1].bias.tolist() == a[1].running_mean.tolist() == [0.0] * 4
    assert a[4].weight.tolist() == [1.0, 1.0] and a[4].bias.tolist() == [0.0, 0.0]


def test_trained_network_is_what_its_description_and_tensors_load():
    layers = [{"type": "normalize", "mean": [1.0] * 3, "std": [2.0] * 3}, {"type": "batch-norm", "features": 3}, LINEAR]
    net = network.initialise(layers, 0)
    x = torch.randn(64, 3, generator=torch.Generator().manual_seed(0)) + 1
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(5):
        optimizer.zero_grad()
        net(x).square().mean().backward()
        optimizer.step()
    assert net[1].running_mean.abs().max() > 0
    assert torch.equal(network.load(layers, net.state_dict())(x), net.eval()(x))


def test_descriptions_that_mean_the_same_have_the_same_hash():
    short = [{"type": "elu"}, {"type": "residual", "body": [CONV]}, {"type": "normalize", "mean": [0.0], "std": [1.0]}]
    long = [
        {"alpha": 1, "type": "elu"},
        {"type": "residual", "shortcut": (), "body": ({**CONV, "stride": 1, "bias": True},)},
        {"type": "normalize", "mean": (0,), "std": [1]},
    ]
    given = copy.deepcopy(long)
    assert network.check(long) == network.check(short) == short
    assert sha256_of(network.check(long)) == sha256_of(short)
    assert long == given
    assert network.check([{**CONV, "stride": 2}]) != network.check([CONV])


def nested(depth):
    layers = [{"type": "relu"}]
    for _ in range(depth - 1):
        layers = [{"type": "residual", "body": layers}]
    return layers


def laughing(levels):
    """Return layers that are few as YAML with aliases, and very many written out."""
    layers = [{"type": "relu"}] * 100
    for _ in range(levels):
        layers = [{"type": "residual", "body": layers}] * 100
    return layers


ENDLESS = [{"type": "residual", "body": []}]
ENDLESS[0]["body"] = ENDLESS


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ({"type": "relu"}, r"^A network must be a list of layers, got \{'type': 'relu'\} \(dict\)$"),
        ("relu", r"^A network must be a list of layers, got 'relu' \(str\)$"),
        (["relu"], r"^Layer 0 must be a mapping with a 'type', got 'relu' \(str\)$"),
        ([{"kind": "relu"}], r"^Layer 0 must be a mapping with a 'type', got \{'kind': 'relu'\} \(dict\)$"),
        ([{"type": "rellu"}], r"^Layer 0: Unknown type 'rellu' - did you mean 'relu'\? known: avg-pool, batch-norm"),
        ([{"type": ["os", "system"]}], r"^Layer 0: Unknown type '\['os', 'system'\] \(list\)' - "),
        ([{"type": "relu", "inplace": True}], r"^Unknown option 'inplace' of layer 0 \(relu\) - known: none$"),
        ([LINEAR, {**CONV, "kernal_size": 3}], r"^Unknown option 'kernal_size' of layer 1 \(conv\) - did you mean 'k"),
        (
            [{"type": "linear", "in_features": 3}],
            r"^Option 'out_features' of layer 0 \(linear\) is missing - it must be",
        ),
        (
            [{**LINEAR, "in_features": 0}],
            r"of layer 0 \(linear\) must be a whole number from 1 to 16777216, got 0 \(int\)$",
        ),
        ([{**LINEAR, "in_features": True}], r"must be a whole number from 1 to 16777216, got True \(bool\)$"),
        ([{**LINEAR, "in_features": 3.0}], r"must be a whole number from 1 to 16777216, got 3.0 \(float\)$"),
        ([{**LINEAR, "in_features": 2**40}], r"must be a whole number from 1 to 16777216, got 1099511627776 \(int\)$"),
        ([{**LINEAR, "in_features": 2**99999}], r"must be a whole number from 1 to 16777216, got "),
        ([{**LINEAR, "bias": 1}], r"^Option 'bias' of layer 0 \(linear\) must be true or false, got 1 \(int\)$"),
        (
            [{**CONV, "padding": -1}],
            r"^Option 'padding' of layer 0 \(conv\) must be a whole number from 0 to 16777216, got",
        ),
        (
            [{"type": "elu", "alpha": float("nan")}],
            r"^Option 'alpha' of layer 0 \(elu\) must be a finite number, got nan",
        ),
        ([{"type": "elu", "alpha": "1e-3"}], r"must be a finite number, got '1e-3' \(str\) - write it without quotes$"),
        ([{"type": "layer-norm", "features": 2, "eps": 0}], r"must be a number greater than 0, got 0 \(int\)$"),
        ([{"type": "unflatten", "shape": [2, 0]}], r"must be a list of whole numbers from 1, got \[2, 0\] \(list\)$"),
        (
            [{"type": "normalize", "mean": 0.5, "std": [1]}],
            r"^Option 'mean' of layer 0 .* must be a list of 1 to 1024 fin",
        ),
        (
            [{"type": "normalize", "mean": [], "std": []}],
            r"^Option 'mean' of layer 0 .* must be a list of 1 to 1024 finite",
        ),
        ([{"type": "normalize", "mean": [0] * 5000, "std": [1]}], r"got \[0, 0, 0, 0, 0, 0, \.\.\.\] \(list\)$"),
        ([{"type": "residual", "body": {}}], r"^0\.body must be a list of layers, got \{\} \(dict\)$"),
        ([{"type": "residual", "body": [LINEAR, {"type": "x"}]}], r"^Layer 0\.body\.1: Unknown type 'x' - "),
        (nested(9), r"^(0\.body\.){7}0\.body is nested too deep - at most 8 levels$"),
        (ENDLESS, r"is nested too deep - at most 8 levels$"),
        ([{"type": "relu"}] * 2_001, r"^The network has more than 2000 layers$"),
        (laughing(6), r"^The network has more than 2000 layers$"),
    ],
    ids=range(29),
)
def test_bad_description_is_refused_with_its_place_and_value(layers, message):
    with pytest.raises(AtlasError, match=message) as caught:
        network.check(layers)
    assert len(str(caught.value)) < 500


def test_options_that_are_left_out_are_those_of_torch():
    ours = {
        kind: {name: setting.default for name, setting in row.options.items() if setting.default is not ...}
        for kind, row in LAYERS.items()
    }
    conv, image = nn.Conv2d(1, 1, 1), nn.ConvTranspose2d(1, 1, 1)
    for kind, made in (("conv", conv), ("transposed-conv", image)):
        for name in ("stride", "padding", "dilation"):
            assert (ours[kind][name],) * 2 == getattr(made, name)
        assert ours[kind]["groups"] == made.groups and ours[kind]["bias"] is (made.bias is not None) is True
    assert (ours["transposed-conv"]["output_padding"],) * 2 == image.output_padding
    assert ours["linear"] == {"bias": True}
    assert ours["max-pool"]["padding"] == ours["avg-pool"]["padding"] == 0
    assert ours["batch-norm"]["eps"] == nn.BatchNorm2d(1).eps and ours["layer-norm"]["eps"] == nn.LayerNorm(1).eps
    assert ours["layer-norm"]["affine"] is True and ours["residual"] == {"shortcut": []}
    assert ours["leaky-relu"]["negative_slope"] == nn.LeakyReLU().negative_slope
    assert ours["elu"]["alpha"] == nn.ELU().alpha


@pytest.mark.parametrize(
    ("kind", "option", "taken", "refused"),
    [
        ("linear", "in_features", [1, 2**24], [0, 2**24 + 1]),
        ("conv", "padding", [0, 2**24], [-1, 2**24 + 1]),
        ("elu", "alpha", [-1e30, 0.0, 1e30], [-1.1e30, 1.1e30, float("inf")]),
        ("batch-norm", "eps", [1e-30, 1e30], [0.0, 1.1e30, -1.0]),
        ("unflatten", "shape", [[1], [1] * 1024], [[], [0], [1] * 1025]),
        ("normalize", "mean", [[0.5], [0.5] * 1024], [[], [0.5] * 1025]),
    ],
)
def test_an_option_of_a_layer_is_taken_up_to_its_bounds(kind, option, taken, refused):
    read = LAYERS[kind].options[option].read
    assert [read(value) for value in taken] == taken
    for value in refused:
        with pytest.raises(ValueError):
            read(value)


def test_layers_that_take_vectors_or_images_alone_say_so():
    takes = {kind: row.takes for kind, row in LAYERS.items() if row.takes}
    images = ("conv", "transposed-conv", "max-pool", "avg-pool", "global-avg-pool", "subsample-pad")
    assert takes == {**dict.fromkeys(("linear", "unflatten", "layer-norm"), 1), **dict.fromkeys(images, 3)}


def test_an_item_may_have_as_many_numbers_as_are_allowed():
    relu, conv = [{"type": "relu"}], {**CONV, "in_channels": 1, "kernel_size": 1}
    assert network.output_shape(relu, (2**24,)) == (2**24,)
    with pytest.raises(AtlasError, match="The shape of an item must be whole numbers from 1, got"):
        network.output_shape(relu, (2**24 + 1,))
    wide = [{**conv, "out_channels": 2**14, "padding": 0}]
    assert network.output_shape(wide, (1, 32, 32)) == (2**14, 32, 32)
    with pytest.raises(AtlasError, match=r"makes items of shape \(16384, 32, 33\) - at most 16777216 numbers"):
        network.output_shape(wide, (1, 32, 33))


def test_running_statistics_are_those_of_torch_in_training():
    ours, theirs = network.initialise([{"type": "batch-norm", "features": 3}]), nn.BatchNorm2d(3)
    for seed in range(3):
        x = torch.randn(5, 3, 4, 4, generator=torch.Generator().manual_seed(seed)) * 2 + 1
        torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(ours[0].running_mean, theirs.running_mean)
    torch.testing.assert_close(ours[0].running_var, theirs.running_var)


def test_deepest_and_longest_descriptions_are_taken():
    assert network.output_shape(nested(8), (2,)) == (2,)
    assert len(network.check([{"type": "relu"}] * 2_000)) == 2_000


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (
            {**CONV, "groups": 2},
            r"^Layer 1\.body\.0 \(conv\) cannot be built: in_channels must be divisible by groups$",
        ),
        (
            {**CONV, "out_channels": 2**24, "kernel_size": 2**24},
            r"^Layer 1\.body\.0 \(conv\) cannot be built: Storage size calculation overflowed",
        ),
        (
            {**CONV, "type": "transposed-conv", "output_padding": 1},
            r"'output_padding' must be less than 'stride' or 'di",
        ),
        (
            {"type": "normalize", "mean": [0, 0], "std": [1]},
            r"'mean' and 'std' must be equally long, and 'std' greater th",
        ),
        (
            {"type": "normalize", "mean": [0], "std": [0]},
            r"'mean' and 'std' must be equally long, and 'std' greater than 0",
        ),
    ],
    ids=range(5),
)
def test_options_that_do_not_go_together_are_refused(layer, message):
    with pytest.raises(AtlasError, match=message):
        network.build([{"type": "relu"}, {"type": "residual", "body": [layer]}])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"0.bias": None}, r"^The tensors do not fit the layers: missing '0\.bias'$"),
        (dict.fromkeys(["0.bias", "0.weight"]), r"missing '0\.bias', '0\.weight'$"),
        (
            {k: torch.ones(1) for k in "abcde"},
            r"^The tensors do not fit the layers: not expected 'a', 'b', 'c' and 2 more$",
        ),
        ({"0.weight": torch.ones(3, 2)}, r"^Tensor '0\.weight' must have shape \(2, 3\), got \(3, 2\)$"),
        ({"0.bias": torch.ones(2, dtype=torch.int64)}, r"^Tensor '0\.bias' must hold real numbers, got torch\.int64$"),
        ({"0.bias": torch.tensor([0.0, float("nan")])}, r"^Tensor '0\.bias' holds NaN or infinity$"),
        ({"0.bias": torch.tensor([0.0, 1e300], dtype=torch.float64)}, r"^Tensor '0\.bias' holds NaN or infinity$"),
    ],
    ids=range(7),
)
def test_tensors_that_do_not_fit_are_named(change, message):
    state = {"0.weight": torch.ones(2, 3), "0.bias": torch.ones(2), **change}
    with pytest.raises(AtlasError, match=message):
        network.load([LINEAR], {name: tensor for name, tensor in state.items() if tensor is not None})


@pytest.mark.parametrize(
    ("layers", "item", "message"),
    [
        ([LINEAR, LINEAR], (3,), r"^Layer 1 \(linear\) does not take items of shape \(2,\): "),
        ([LINEAR], (5, 3), r"^Layer 0 \(linear\) does not take items of shape \(5, 3\): it takes vectors$"),
        # Without the check, torch would read the channels as a batch.
        ([{**CONV, "in_channels": 1}], (3, 32), r"of shape \(3, 32\): it takes images \(channels, height, width\)$"),
        ([CONV], (4, 8, 8), r"^Layer 0 \(conv\) does not take items of shape \(4, 8, 8\): "),
        (
            [CONV],
            (3, 2, 2),
            r"^Layer 0 \(conv\) does not .* \(3, 2, 2\): its kernel is larger than the image, or its pad",
        ),
        (
            [{**CONV, "type": "transposed-conv", "padding": 2}],
            (3, 1, 9),
            r"^Layer 0 \(transposed-conv\) does not take items",
        ),
        (
            [{"type": "unflatten", "shape": [2, 2]}],
            (5,),
            r"^Layer 0 \(unflatten\) does not take items of shape \(5,\): ",
        ),
        (
            [{"type": "batch-norm", "features": 3}],
            (4,),
            r"^Layer 0 \(batch-norm\) does not take items of shape \(4,\): ",
        ),
        (
            [{"type": "layer-norm", "features": 3}],
            (4,),
            r"^Layer 0 \(layer-norm\) does not take items of shape \(4,\): ",
        ),
        (
            [{"type": "normalize", "mean": [0, 0], "std": [1, 1]}],
            (3,),
            r"of shape \(3,\): it has the mean of 2 channels$",
        ),
        # Broadcasting would add a vector to each pixel, or one column to all.
        (
            [{"type": "residual", "body": [{**LINEAR, "out_features": 1}]}],
            (3,),
            r"its body gives \(1,\), its shortcut \(3,\)$",
        ),
        (
            [{"type": "relu"}, {"type": "residual", "body": [LINEAR, LINEAR]}],
            (3,),
            r"^Layer 1\.body\.1 \(linear\) does not",
        ),
        (
            [{"type": "subsample-pad", "stride": 1, "pad": 2**24}],
            (1, 2, 2),
            r"^Layer 0 .* makes items of shape .* - at most",
        ),
        ([{**CONV, "padding": 2**24}], (3, 2, 2), r"^Layer 0 \(conv\) "),
        ([{"type": "relu"}], (0,), r"^The shape of an item must be whole numbers from 1, got \(0,\) \(tuple\)$"),
        ([{"type": "relu"}], (2**40, 2**40), r"^The shape of an item must be whole numbers from 1, got "),
    ],
    ids=range(16),
)
def test_layer_that_does_not_fit_its_input_is_named(layers, item, message):
    with pytest.raises(AtlasError, match=message):
        network.output_shape(layers, item)


def test_shapes_are_checked_without_the_memory_the_network_would_take():
    """Of a kernel of 2 ** 48 numbers, no machine could make one."""
    layer = {"type": "conv", "in_channels": 1, "out_channels": 1, "kernel_size": 2**24 - 1, "padding": 2**23 - 1}
    assert network.output_shape([layer], (1, 4, 5)) == (1, 4, 5)


def test_a_batch_is_split_where_a_layer_would_make_too_much_of_it():
    padded = [{**CONV, "in_channels": 1, "out_channels": 1, "padding": 100}, {"type": "global-avg-pool"}]
    # 4 + 2 * 100 - 2 in each direction
    assert network.batch_rows(padded, (1, 4, 4)) == network.MAX_BATCH // 202**2
    inside = [{"type": "residual", "body": [padded[0], {"type": "avg-pool", "kernel_size": 199, "stride": 199}]}]
    assert network.batch_rows([*inside, {"type": "flatten"}], (1, 1, 1)) == network.MAX_BATCH // 199**2
    net = network.initialise(padded).eval()
    X = torch.randn(7, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    seen: list[int] = []
    net.register_forward_hook(lambda module, given, made: seen.append(len(made)))
    torch.testing.assert_close(network.in_parts(net, X, 3), net(X))
    assert seen == [3, 3, 1, 7]


def test_initialise_refuses_more_parameters_than_fit():
    layers = [{**LINEAR, "in_features": 2**24, "out_features": 2**24}]
    with pytest.raises(AtlasError, match=r"^The network has 281474993487872 parameters - at most 1073741824$"):
        network.initialise(layers)
