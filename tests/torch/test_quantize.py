# SPDX-License-Identifier: Apache-2.0
"""octavo.torch.quantize_: what becomes int8, what stays, what is refused."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import subprocess
import sys

import numpy as np
import pytest

import octavo

torch = pytest.importorskip("torch", reason="needs PyTorch")
ot = pytest.importorskip("octavo.torch", reason="needs PyTorch")
nn = torch.nn

ALL = ot.Int8Dynamic(if_slower="quantize")


class Tied(nn.Module):
    """A small language model whose head is its embedding."""

    def __init__(self, head_bias: bool = False) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 24)
        self.body = nn.Linear(24, 24)
        self.head = nn.Linear(24, 50, bias=head_bias)
        self.head.weight = self.embed.weight

    def forward(self, ids):
        return self.head(torch.relu(self.body(self.embed(ids))))


def test_in_place_means_the_same_objects() -> None:
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Embedding(10, 8))
    parts = list(model)
    calls = []
    model[0].register_forward_hook(lambda *_: calls.append(1))
    summary = ot.quantize_(model, ALL)
    assert list(model) == parts
    assert type(model[0]) is ot.Linear
    assert type(model[2]) is ot.Embedding
    assert [(layer.name, layer.kind, layer.shape) for layer in summary.converted] == [
        ("0", "Linear", (32, 64)),
        ("2", "Embedding", (10, 8)),
    ]
    assert not summary.kept
    model[0](torch.randn(2, 64))
    assert calls == [1]
    assert not list(model.parameters())


def test_the_root_may_be_a_layer() -> None:
    layer = nn.Linear(64, 32)
    twin = ot.Linear.from_float(layer)
    summary = ot.quantize_(layer, ALL)
    assert summary.converted[0].name == ""
    x = torch.randn(3, 64)
    assert torch.equal(layer(x), twin(x))


def test_a_second_time_does_nothing() -> None:
    model = nn.Sequential(nn.Linear(64, 32))
    ot.quantize_(model, ALL)
    assert ot.quantize_(model, ALL) == ot.Summary()


def test_a_module_in_two_places_is_converted_once() -> None:
    layer = nn.Linear(64, 64)
    model = nn.Sequential(layer, layer)
    assert len(ot.quantize_(model, ALL).converted) == 1
    assert model[0] is model[1]
    assert type(model[0]) is ot.Linear


def test_the_summary_counts_bytes() -> None:
    model = nn.Sequential(nn.Linear(256, 512), nn.Linear(512, 4))
    summary = ot.quantize_(model)
    assert summary.bytes_before == (256 * 512 + 512) * 4
    assert summary.bytes_after == model[0].nbytes == model[0]._weight.layer.nbytes
    assert [layer.name for layer in summary.kept] == ["1"]
    assert "too small" in summary.kept[0].reason
    text = str(summary)
    assert text.startswith("1 layer is int8, 0.53 MB -> 0.1")
    assert "1  Linear 4x512: too small to gain" in text
    with pytest.raises(dataclasses.FrozenInstanceError):
        summary.kept = ()


def test_filter_fn_sees_module_and_name() -> None:
    model = nn.ModuleDict({"a": nn.Linear(64, 64), "b": nn.Sequential(nn.Linear(64, 64))})
    seen = {}

    def only_b(module, name):
        seen[name] = module
        return name.startswith("b.")

    summary = ot.quantize_(model, ALL, only_b)
    assert seen == {"a": model["a"], "b.0": model["b"][0]}
    assert [layer.name for layer in summary.converted] == ["b.0"]
    assert summary.kept == (ot.Kept("a", "Linear", (64, 64), "filter_fn left it out"),)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_what_stays_float_and_why() -> None:
    class Own(nn.Linear):
        pass

    computed = nn.utils.spectral_norm(nn.Linear(16, 16))
    patched = nn.Linear(16, 16)
    patched.forward = patched.forward
    model = nn.ModuleDict(
        {
            "own": Own(16, 16),
            "computed": computed,
            "patched": patched,
            "precise": nn.Linear(16, 16, dtype=torch.float64),
            "empty": nn.Linear(16, 0),
            "wide": nn.Linear(66312, 1),
            "normed": nn.Embedding(4, 4, max_norm=1.0),
            "attention": nn.MultiheadAttention(16, 2),
        }
    )
    summary = ot.quantize_(model, ALL)
    assert not summary.converted
    reasons = {layer.name: layer.reason for layer in summary.kept}
    expected = {
        "own": "Own computes in a way of its own",
        "computed": "its weight is computed",
        "patched": "its forward is patched",
        "precise": "its weight is torch.float64",
        "empty": "it is empty",
        "wide": "more than 65793 inputs",
        "normed": "max_norm rewrites the table",
        "attention.out_proj": "computes in a way of its own",
    }
    assert reasons.keys() == expected.keys()
    for name, text in expected.items():
        assert text in reasons[name], name


def test_embeddings_can_be_left_out() -> None:
    summary = ot.quantize_(Tied(), ot.Int8Dynamic(embeddings=False, if_slower="quantize"))
    assert [layer.name for layer in summary.converted] == ["body"]
    reasons = {layer.name: layer.reason for layer in summary.kept}
    assert reasons["embed"] == "embeddings are switched off"
    assert reasons["head"] == "its weight is tied to embed.weight, which stays float"


def test_measuring_keeps_the_slower_layers(monkeypatch) -> None:
    speeds = {(8, 16): 0.8, (32, 16): 1.5}
    monkeypatch.setattr(ot._checks, "_speedup", lambda n, k, *_: speeds[n, k])
    model = nn.Sequential(nn.Linear(16, 8), nn.Linear(16, 32))
    summary = ot.quantize_(model, ot.Int8Dynamic(if_slower="measure"))
    assert [layer.name for layer in summary.converted] == ["1"]
    assert summary.kept[0].reason == "measured 0.80x of the float layer's speed"


def test_measuring_measures() -> None:
    summary = ot.quantize_(nn.Linear(64, 48), ot.Int8Dynamic(if_slower="measure", rows=(4,)))
    assert len(summary.converted) + len(summary.kept) == 1
    assert ot._checks._speedup(48, 64, True, torch.float32, (4,), torch.get_num_threads()) > 0


@pytest.mark.parametrize("head_bias", [False, True])
@pytest.mark.parametrize("duplicate", ["deepcopy", "pickle"])
def test_tied_weights_stay_tied(head_bias, duplicate) -> None:
    plain = Tied(head_bias)
    model = copy.deepcopy(plain)
    summary = ot.quantize_(model, ALL)
    assert model.head.packed is model.embed.codes
    assert model.head._weight is model.embed._weight
    assert summary.converted[2].bytes_after == 50 * 4 * head_bias
    apart = Tied(head_bias)
    apart.load_state_dict(plain.state_dict())
    apart.head.weight = nn.Parameter(apart.embed.weight.detach().clone())
    ot.quantize_(apart, ALL)
    assert apart.head._weight.packed.data_ptr() != apart.embed.codes.data_ptr()
    ids = torch.randint(0, 50, (2, 7))
    y = model(ids)
    assert torch.equal(y, apart(ids))
    x = torch.randn(3, 24)
    assert torch.equal(model.head(x), apart.head(x))
    assert torch.equal(model.head(x.bfloat16()), apart.head(x.bfloat16()))
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(ids), y)
    made = copy.deepcopy(model) if duplicate == "deepcopy" else pickle.loads(pickle.dumps(model))
    assert made.head._weight is made.embed._weight is not model.head._weight
    assert torch.equal(made(ids), y)
    other = Tied(head_bias)
    ot.quantize_(other, ALL)
    made.load_state_dict(other.state_dict())
    assert made.head.packed.data_ptr() == made.embed.codes.data_ptr()
    assert torch.equal(made(ids), other(ids))
    assert torch.equal(model(ids), y)


def test_two_layers_and_two_tables_may_be_tied() -> None:
    model = nn.ModuleList([nn.Linear(32, 32), nn.Linear(32, 32), nn.Embedding(9, 4), Tied().embed])
    model[1].weight = model[0].weight
    model.append(nn.Embedding(9, 4))
    model[4].weight.data = model[2].weight.data
    plain = copy.deepcopy(model)
    assert len(ot.quantize_(model, ALL).converted) == 5
    assert model[0].packed is model[1].packed
    assert model[2].codes is model[4].codes
    assert model[3].codes is not model[2].codes
    x = torch.randn(2, 32)
    for index in (0, 1):
        assert torch.equal(model[index](x), ot.Linear.from_float(plain[index])(x))


def test_a_tie_to_a_float_keeps_both_float() -> None:
    model = Tied()
    summary = ot.quantize_(model, ALL, lambda _, name: name != "head")
    assert {layer.name: layer.reason for layer in summary.kept} == {
        "embed": "its weight is tied to head.weight, which stays float",
        "head": "filter_fn left it out",
    }
    assert model.head.weight is model.embed.weight


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_embedding(dtype) -> None:
    plain = nn.Embedding(30, 12, padding_idx=2).to(dtype)
    table = copy.deepcopy(plain)
    ot.quantize_(table)
    ids = torch.randint(0, 30, (4, 5))
    rows = table(ids)
    assert rows.dtype == dtype
    reference = octavo.Embedding.from_float(plain.weight.detach().float().numpy())
    expected = torch.from_numpy(reference(ids.numpy())).to(dtype)
    assert torch.equal(rows, expected)
    assert torch.equal(table(ids.int()), expected)
    assert torch.equal(table(ids.t()), expected.transpose(0, 1))
    assert table(torch.empty(0, 3, dtype=torch.int64)).shape == (0, 3, 12)
    assert torch.equal(pickle.loads(pickle.dumps(table))(ids), expected)
    assert table.to(torch.float64).dtype == dtype
    assert table.float()(ids).dtype == torch.float32
    np.testing.assert_array_equal(table.weight.numpy(), reference.weight)


def test_ids_that_are_none() -> None:
    table = ot.Embedding.from_float(nn.Embedding(10, 16))
    for bad, error, match in (
        ([1], TypeError, r"input: expected a torch\.Tensor, got list"),
        (torch.tensor([1], device="meta"), ValueError, "input: expected a CPU tensor"),
        (torch.tensor([1]).to_sparse(), TypeError, "input: expected a dense tensor"),
        (torch.tensor([1.0]), TypeError, "input: expected int64 or int32"),
        (torch.tensor([10]), IndexError, r"input: expected ids in \[0, 9\], got 10"),
        (torch.tensor([-1]), IndexError, r"input: expected ids in \[0, 9\], got -1"),
    ):
        with pytest.raises(error, match=match):
            table(bad)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")  # the float model's
def test_pytorchs_encoder_does_not_go_around_us() -> None:
    layer = nn.TransformerEncoderLayer(64, 4, 128, batch_first=True)
    model = nn.TransformerEncoder(layer, 2).eval()
    plain = copy.deepcopy(model)
    summary = ot.quantize_(model, ALL)
    assert len(summary.converted) == 4
    x = torch.randn(2, 5, 64)
    mask = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    with torch.no_grad():
        y = model(x, src_key_padding_mask=mask)
        expected = plain(x, src_key_padding_mask=mask)
        hits = []
        model.layers[0].linear1.register_forward_hook(lambda *_: hits.append(1))
        model(x)
    assert hits == [1]
    real = ~mask
    assert (y[real] - expected[real]).abs().max() < 0.05 * expected[real].abs().max()


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        (lambda m: m.to("meta"), ValueError, r"1\.0\.weight: .*meta tensor.*load the weights"),
        (
            lambda m: setattr(m[1][0], "weight", nn.Parameter(m[1][0].weight.to_sparse())),
            ValueError,
            r"1\.1\.0\.weight: expected a dense tensor.*to_dense\(\)",
        ),
        (
            lambda m: m[1][0].weight.data.__setitem__((0, 0), float("nan")),
            ValueError,
            r"1\.0\.weight: expected finite values",
        ),
        (
            lambda m: m[1][0].bias.data.__setitem__(0, float("inf")),
            ValueError,
            r"1\.0\.bias: expected finite values",
        ),
    ],
)
def test_bad_layers_change_nothing(change, error, match) -> None:
    model = nn.Sequential(nn.ReLU(), nn.Sequential(nn.Linear(64, 64)))
    first = nn.Linear(64, 64)
    change(model)
    whole = nn.ModuleList([first, model])
    with pytest.raises(error, match=match):
        ot.quantize_(whole, ALL)
    assert type(first) is nn.Linear
    summary = ot.quantize_(whole, ALL, lambda _, name: name == "0")
    assert [layer.name for layer in summary.converted] == ["0"]


def test_another_device_is_named() -> None:
    class Elsewhere:
        type = "cuda"

        def __str__(self) -> str:
            return "cuda:0"

    class Weight:
        is_meta, device = False, Elsewhere()

    layer = nn.Linear(64, 64)
    stand_in = type("Layer", (), {"_parameters": {"weight": Weight(), "bias": None}})()
    with pytest.raises(ValueError, match=r"fc\.weight: expected a CPU tensor, got one on cuda:0"):
        ot._checks._require_usable("fc", stand_in)
    ot._checks._require_usable("fc", layer)


def test_bad_arguments() -> None:
    with pytest.raises(TypeError, match=r"module: expected a torch\.nn\.Module, got Tensor"):
        ot.quantize_(torch.zeros(2, 2))
    with pytest.raises(
        ValueError, match="config: expected one of int8_dynamic, int4_dynamic, got 'int4'"
    ):
        ot.quantize_(nn.Linear(2, 2), "int4")
    with pytest.raises(
        TypeError, match="config: expected an instance of Int8Dynamic or Int4Dynamic"
    ):
        ot.quantize_(nn.Linear(2, 2), ot.Int8Dynamic)
    with pytest.raises(TypeError, match="filter_fn: expected a function, got str"):
        ot.quantize_(nn.Linear(2, 2), None, "0")
    with pytest.raises(ValueError, match="if_slower: expected one of keep, measure, quantize"):
        ot.Int8Dynamic(if_slower="never")
    with pytest.raises(TypeError, match="rows: expected a tuple"):
        ot.Int8Dynamic(rows=[1])
    with pytest.raises(ValueError, match=r"rows: expected a value in \[1"):
        ot.Int8Dynamic(rows=(0,))
    with pytest.raises(dataclasses.FrozenInstanceError):
        ot.Int8Dynamic().symmetric = True
    assert len(ot.quantize_(nn.Linear(512, 512), "int8_dynamic").converted) == 1


WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None
import octavo
try:
    import octavo.torch
except ImportError as error:
    print(error)
"""


def test_without_torch_the_error_says_what_to_install() -> None:
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == 'octavo.torch needs PyTorch: pip install "octavo[torch]"'
