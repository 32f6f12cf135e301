# SPDX-License-Identifier: Apache-2.0
"""peft on int8 layers: training, switching, merging, and files that go both ways."""

from __future__ import annotations

import copy
import importlib
import pickle
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import model_files
import octavo

torch = pytest.importorskip("torch", reason="needs PyTorch")
transformers = pytest.importorskip("transformers", reason="needs transformers")
peft = pytest.importorskip("peft", reason="needs peft: the extra `lora`")
op = pytest.importorskip("octavo.peft", reason="needs peft: the extra `lora`")

from octavo.torch import Embedding, Int8Dynamic, Linear, quantize_  # noqa: E402
from octavo.transformers import OctavoConfig  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

# peft asks transformers for a property under its old name, and takes biases for broken matrices.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*LoRA tensor.s. have invalid shape"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torchao"),
]

TARGETS = ["query", "value", "intermediate.dense"]
IDS, MASK = (torch.from_numpy(array) for array in model_files.batch())
LABELS = torch.tensor([0, 1, 2, 0])


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_files.write_random(tmp_path_factory.mktemp("peft") / "bert")


@pytest.fixture(scope="module")
def int8(bert: Path) -> Path:
    folder = bert.parent / "int8"
    octavo.compress(bert).save(folder)
    return folder


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(3)


def float_base(folder: Path) -> Any:
    torch.manual_seed(11)
    kind = transformers.AutoModelForSequenceClassification
    return kind.from_pretrained(folder, num_labels=3)


def int8_base(folder: Path) -> Any:
    """The float model with all but its head int8."""
    model = float_base(folder)
    config = Int8Dynamic(if_slower="quantize")
    quantize_(model, config, lambda _, name: name != "classifier")
    return model


def lora(**changes: Any) -> Any:
    options = {"r": 4, "lora_alpha": 8, "target_modules": TARGETS, "task_type": "SEQ_CLS"}
    return peft.LoraConfig(**{**options, **changes})


def layers(model: Any) -> Iterator[Any]:
    return (module for module in model.modules() if isinstance(module, op.LoraLinear))


def train(model: Any, steps: int = 12) -> float:
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-2)
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        loss = model(input_ids=IDS, attention_mask=MASK, labels=LABELS).loss
        loss.backward()
        optimizer.step()
    model.eval()
    return float(loss.detach())


def own_logits(engine: octavo.models.Encoder) -> np.ndarray:
    engine.attention_precision = "float32"
    return engine.logits(IDS.numpy(), MASK.numpy())


def logits(model: Any, **options: Any) -> Any:
    with torch.no_grad():
        return model(input_ids=IDS, attention_mask=MASK, **options).logits


@pytest.fixture(scope="module")
def trained(bert: Path) -> Any:
    torch.manual_seed(3)
    changes = {"rank_pattern": {"value": 2}, "use_rslora": True, "lora_bias": True}
    model = peft.get_peft_model(int8_base(bert), lora(lora_dropout=0.1, **changes))
    train(model)
    return model


@pytest.fixture
def model(trained: Any) -> Any:
    return copy.deepcopy(trained)


def test_trains_beside_frozen_codes(bert: Path) -> None:
    base = int8_base(bert)
    before = {k: v.clone() for k, v in base.state_dict().items() if "classifier" not in k}
    model = peft.get_peft_model(base, lora())
    assert len(list(layers(model))) == 6
    start = logits(model)
    first = train(model, 1)
    assert train(model, 30) < 0.5 * first
    assert (logits(model) - start).abs().max() > 0.1
    model.unload()
    after = base.state_dict()
    for name, value in before.items():
        assert torch.equal(after[name], value), name


def test_gradients_are_those_of_the_dequantized_base(bert: Path) -> None:
    """The same adapter on a float layer with the dequantized weight, given the same inputs."""
    layer = Linear.from_float(torch.nn.Linear(48, 40))
    twin = torch.nn.Linear(48, 40)
    twin.load_state_dict({"weight": layer.weight, "bias": layer.bias})
    config = peft.LoraConfig(r=4, lora_alpha=8, target_modules=["0"], init_lora_weights=False)
    models = []
    for base in (layer, twin):
        torch.manual_seed(1)
        models.append(peft.get_peft_model(torch.nn.Sequential(base), config))
    x = torch.randn(5, 48)
    upstream = torch.randn(5, 40)
    gradients = []
    for model in models:
        inputs = x.clone().requires_grad_()
        (model(inputs) * upstream).sum().backward()
        grads = [p.grad for p in model.parameters() if p.requires_grad]
        gradients.append([inputs.grad, *grads])
    assert len(gradients[0]) == 3
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_only_adapters_and_head_train(bert: Path) -> None:
    model = peft.get_peft_model(int8_base(bert), lora())
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    assert names
    assert all("lora_" in name or "classifier.modules_to_save" in name for name in names)
    assert model.get_nb_trainable_parameters()[0] == 4 * (4 * 64 + 2 * 80 + 0) + 3 * 33


def test_all_linear_means_int8_layers_too(bert: Path) -> None:
    model = peft.get_peft_model(int8_base(bert), lora(target_modules="all-linear"))
    assert len(list(layers(model))) == 2 * 6 + 1
    model.add_adapter("second", lora(target_modules="all-linear"))
    assert all(set(layer.lora_A) == {"default", "second"} for layer in layers(model))


def test_merge_and_back(model: Any) -> None:
    apart = logits(model)
    codes = [layer.base_layer.state_dict() for layer in layers(model)]
    expected = op.requantization_error(model)
    sums = [layer.float_sum(["default"]) for layer in layers(model)]
    model.merge_adapter(safe_merge=True)
    together = logits(model)
    assert 0 < (apart - together).abs().max() < 0.1
    for layer, (weight, bias), error in zip(layers(model), sums, expected.values(), strict=True):
        base = layer.base_layer
        bound = base.weight_scale[:, None] * 0.5 * (1 + 2**-10)
        assert ((base.weight - weight).abs() <= bound).all()
        torch.testing.assert_close(base.bias, bias)
        assert error == pytest.approx(
            float((base.weight - weight).norm() / weight.norm()), rel=0.01
        )
    model.unmerge_adapter()
    assert torch.equal(logits(model), apart)
    for layer, state in zip(layers(model), codes, strict=True):
        for name, value in layer.base_layer.state_dict().items():
            assert torch.equal(value, state[name])
    with pytest.warns(UserWarning, match="Already unmerged"):
        next(layers(model)).unmerge()


def test_merge_and_unload_gives_plain_int8_layers(model: Any) -> None:
    twin = copy.deepcopy(model)
    twin.merge_adapter()
    plain = model.merge_and_unload()
    assert type(plain.bert.encoder.layer[0].attention.self.query) is Linear
    assert not list(layers(plain))
    assert torch.equal(logits(plain), logits(twin))


def test_merging_two_quantizes_the_sum_once(bert: Path) -> None:
    config = lora(init_lora_weights=False)
    model = peft.get_peft_model(int8_base(bert), config).eval()
    model.add_adapter("second", config)
    one, two = copy.deepcopy(model), copy.deepcopy(model)
    one.base_model.merge_adapter(["default", "second"])
    two.base_model.merge_adapter(["default"])
    with pytest.warns(UserWarning, match="Already following adapters"):
        two.base_model.merge_adapter(["second"])
    assert torch.equal(logits(one), logits(two))
    for first, second in zip(layers(one), layers(two), strict=True):
        codes = (layer.base_layer.state_dict()["weight"] for layer in (first, second))
        assert torch.equal(*codes)


def test_switching(bert: Path) -> None:
    base = int8_base(bert).eval()
    plain = logits(base)
    model = peft.get_peft_model(base, lora(init_lora_weights=False)).eval()
    model.add_adapter("second", lora(init_lora_weights=False, r=2))
    first = logits(model)
    with model.disable_adapter():
        assert torch.equal(logits(model), plain)
    model.set_adapter("second")
    second = logits(model)
    assert not torch.equal(first, second)
    mixed = logits(model, adapter_names=["default", "second", "__base__", "default"])
    for row, wanted in enumerate([first, second, plain, first]):
        torch.testing.assert_close(mixed[row], wanted[row])
    model.merge_adapter()
    with model.disable_adapter():
        assert torch.equal(logits(model), plain)
    with pytest.warns(UserWarning, match="Adapter second was active"):
        model.delete_adapter("second")
    assert torch.equal(logits(model), first)


def test_tied_weights_part_when_merged() -> None:
    table = torch.nn.Embedding(64, 48)
    head = torch.nn.Linear(48, 64, bias=False)
    head.weight = table.weight
    base = torch.nn.Sequential(table, head)
    quantize_(base, Int8Dynamic(if_slower="quantize"))
    assert isinstance(base[0], Embedding)
    rows = base[0](torch.arange(64)).clone()
    config = peft.LoraConfig(r=2, target_modules=["1"], init_lora_weights=False)
    model = peft.get_peft_model(base, config)
    model.merge_adapter()
    assert torch.equal(base[0](torch.arange(64)), rows)


def test_copies_and_half_precision(model: Any) -> None:
    wanted = logits(model)
    model.merge_adapter()
    again = pickle.loads(pickle.dumps(model.base_model.model))
    for layer in layers(again):
        layer.unmerge()
    assert torch.equal(logits(again), wanted)
    layer = next(layers(model))
    layer.unmerge()
    x = torch.randn(3, 32)
    half = layer(x.bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), layer(x), rtol=0.05, atol=0.1)


def test_octavo_runs_what_peft_saved(tmp_path: Path, bert: Path, model: Any) -> None:
    model.save_pretrained(tmp_path / "adapter")
    engine = octavo.compress(bert)
    engine.load_adapter(tmp_path / "adapter")
    np.testing.assert_allclose(own_logits(engine), logits(model).numpy(), atol=2e-4)
    merged = engine.merge_adapter("default")
    model.merge_adapter()
    np.testing.assert_allclose(own_logits(merged), logits(model).numpy(), atol=2e-4)


@pytest.mark.parametrize("base", [float_base, int8_base])
def test_files_go_both_ways(tmp_path: Path, bert: Path, base: Any) -> None:
    changes = {"alpha_pattern": {"layer.1.*value": 3}, "init_lora_weights": False}
    made = peft.get_peft_model(base(bert), lora(**changes)).eval()
    made.save_pretrained(tmp_path / "theirs")
    octavo.lora.Adapter.load(tmp_path / "theirs").save(tmp_path / "ours")
    again = logits(peft.PeftModel.from_pretrained(base(bert), tmp_path / "ours"))
    assert torch.equal(again, logits(made))
    engine = octavo.models.load(bert) if base is float_base else octavo.compress(bert)
    engine.load_adapter(tmp_path / "ours")
    np.testing.assert_allclose(own_logits(engine), logits(made).numpy(), atol=2e-4)


def test_from_pretrained_on_an_int8_folder(tmp_path: Path, int8: Path) -> None:
    """A head that the checkpoint does not know is new, float, and trains."""
    kind = transformers.AutoModelForSequenceClassification
    base = kind.from_pretrained(int8, num_labels=3, quantization_config=OctavoConfig())
    assert type(base.classifier) is torch.nn.Linear
    assert base.hf_quantizer.is_trainable
    model = peft.get_peft_model(peft.prepare_model_for_kbit_training(base), lora())
    assert len(list(layers(model))) == 6
    first = train(model, 1)
    assert train(model, 30) < 0.5 * first
    model.save_pretrained(tmp_path / "adapter")
    engine = octavo.models.load(int8)
    engine.load_adapter(tmp_path / "adapter")
    np.testing.assert_allclose(own_logits(engine), logits(model).numpy(), atol=2e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"use_dora": True}, r"use_dora: expected plain LoRA on int8 layers, got True"),
        ({"use_qalora": True}, r"use_qalora: expected plain LoRA"),
        ({"fan_in_fan_out": True}, r"fan_in_fan_out: expected plain LoRA"),
        ({"init_lora_weights": "pissa"}, r"init_lora_weights: expected True, .* got 'pissa'"),
        ({"init_lora_weights": "olora"}, r"init_lora_weights: expected True, .* got 'olora'"),
        ({"bias": "lora_only"}, r"bias: expected 'none' on int8 layers, got 'lora_only'"),
        ({"target_modules": ["word_embeddings"]}, r"expected linear layers, got the int8 table"),
        ({"r": 0}, "positive"),
    ],
)
def test_what_int8_layers_refuse(bert: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        peft.get_peft_model(int8_base(bert), lora(**changes))


def test_second_adapters_are_checked_too(model: Any) -> None:
    with pytest.raises(ValueError, match="use_dora: expected plain LoRA"):
        model.add_adapter("dora", lora(use_dora=True))


def test_int8_heads_do_not_train(bert: Path) -> None:
    base = float_base(bert)
    quantize_(base, Int8Dynamic(if_slower="quantize"))
    with pytest.raises(ValueError, match="expected float layers, got the int8 layer 'classifier'"):
        peft.get_peft_model(base, lora(modules_to_save=["classifier"]))
    with pytest.raises(ValueError, match=r"got the int8 layer 'bert\.pooler\.dense'"):
        peft.get_peft_model(int8_base(bert), lora(modules_to_save=["pooler"]))


def test_broken_adapters_do_not_merge(model: Any) -> None:
    layer = next(layers(model))
    with torch.no_grad():
        layer.lora_B["default"].weight[0, 0] = float("nan")
    before = layer.base_layer.state_dict()
    with pytest.raises(ValueError, match="adapter 'default': expected finite weights"):
        model.merge_adapter()
    for name, value in layer.base_layer.state_dict().items():
        assert torch.equal(value, before[name])
    bare = Linear.from_float(torch.nn.Linear(8, 8, bias=False))
    config = peft.LoraConfig(r=2, target_modules=["0"], lora_bias=True)
    with pytest.warns(UserWarning, match="has no bias"):
        adapted = peft.get_peft_model(torch.nn.Sequential(bare), config)
    with pytest.raises(ValueError, match="the int8 layer has none: it cannot be merged"):
        adapted.merge_adapter()
    with pytest.raises(ValueError, match=r"adapter_names: expected adapters .* got \['other'\]"):
        op.requantization_error(adapted, ["other"])


def test_float_layers_stay_pefts_own(bert: Path) -> None:
    model = peft.get_peft_model(float_base(bert), lora(use_dora=True))
    assert not list(layers(model))


def test_the_study_trains_and_evaluates(tmp_path: Path, int8: Path, monkeypatch: Any) -> None:
    """`bench/common/lora.py` on a model that is too small to learn much."""
    bench = Path(__file__).resolve().parents[2] / "bench"
    if not bench.is_dir():
        pytest.skip("the bench folder is not here")
    monkeypatch.syspath_prepend(str(bench))
    study = importlib.import_module("common.lora")
    folder = tmp_path / "int8"
    shutil.copytree(int8, folder)
    model_files.write_tokenizer(folder)
    sentences = ["the and of a", "of of .", "a , a", "and the ."] * 3
    labels = [0, 1, 1, 0] * 3
    made = study.lora_on_int8(folder, sentences, labels, tmp_path / "adapter", 0, epochs=1)
    engine = octavo.models.load(folder)
    adapter = engine.load_adapter(made)
    assert adapter.config["r"] == study.RANK
    scores = study.logits(engine, folder, sentences)
    assert scores.shape == (12, 2)
    assert 0 <= study.accuracy(scores, labels) <= 1


@pytest.mark.parametrize("fan_in_fan_out", [False, True])
def test_adapters_of_a_conv1d(fan_in_fan_out: bool) -> None:
    sizes = {"n_embd": 64, "n_layer": 1, "n_head": 2, "n_positions": 16, "vocab_size": 99}
    base = transformers.GPT2Model(transformers.GPT2Config(**sizes)).eval()
    quantize_(base, Int8Dynamic(if_slower="quantize"))
    options = {"init_lora_weights": False, "fan_in_fan_out": fan_in_fan_out}
    model = peft.get_peft_model(base, peft.LoraConfig(target_modules=["c_attn"], **options))
    (layer,) = layers(model)
    x = torch.randn(3, 64)
    beside = layer(x).detach()
    layer.merge()
    assert (layer(x) - beside).abs().max() < 0.05 * beside.abs().max()
