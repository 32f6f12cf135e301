# SPDX-License-Identifier: Apache-2.0
"""An adapter trained beside a base of 4 bits, and run by octavo beside the same base."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import octavo
from octavo.models import Cache

torch = pytest.importorskip("torch", reason="needs PyTorch")
transformers = pytest.importorskip("transformers", reason="needs transformers")
peft = pytest.importorskip("peft", reason="needs peft: the extra `lora`")
op = pytest.importorskip("octavo.peft", reason="needs peft: the extra `lora`")

import decoder_files  # noqa: E402
import model_files  # noqa: E402
import packed_files  # noqa: E402
from octavo.transformers import OctavoConfig  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torchao"),
]
IDS = torch.from_numpy(np.random.default_rng(0).integers(3, 100, (3, 12)))
CONFIG = decoder_files.LLAMA | {"tie_word_embeddings": False, "pad_token_id": 0}
TARGETS = ["q_proj", "v_proj", "down_proj"]


@pytest.fixture(params=["float", "gptq, ordered"])
def base(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A LLaMA whose layers became 4 bits while it was loaded, or were so."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    tensors = decoder_files.random_tensors(CONFIG, seed=1)
    config, options = dict(CONFIG), {"bits": 4, "if_slower": "quantize"}
    if request.param != "float":
        packed = packed_files.packed_model(tensors, ("_proj",), request.param)
        tensors, _, config["quantization_config"] = packed
        options = {}
    folder = model_files.write_folder(tmp_path / "model", config, tensors)
    return transformers.AutoModelForCausalLM.from_pretrained(
        folder, quantization_config=OctavoConfig(**options)
    )


def adapted(base: Any, **options: Any) -> Any:
    config = peft.LoraConfig(r=4, target_modules=TARGETS, task_type="CAUSAL_LM", **options)
    return peft.get_peft_model(base, config)


def logits(model: Any) -> Any:
    with torch.no_grad():
        return model(input_ids=IDS).logits


def test_trains_saves_and_runs(base: Any, tmp_path: Path) -> None:
    base.save_pretrained(tmp_path / "base")
    before = {name: value.clone() for name, value in base.state_dict().items()}
    plain = logits(base)
    model = adapted(base)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=2e-2)
    losses = []
    for _ in range(25):
        optimizer.zero_grad()
        loss = model(input_ids=IDS, labels=IDS).loss
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.6 * losses[0]
    model.eval().save_pretrained(tmp_path / "adapter")
    found = logits(model)
    assert (found - plain).abs().max() > 0.5
    own = octavo.models.load(tmp_path / "base")
    assert own.get_submodule("model.layers.0.mlp.down_proj").kind == "int4"
    own.load_adapter(tmp_path / "adapter", "told")
    served = own(IDS.numpy(), [Cache(own, "float32") for _ in IDS])
    # Float parts round otherwise, which may move a value to the next code.
    assert np.abs(served - found.numpy()).max() < 0.05 * found.abs().max()
    after = model.unload().state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_gradients_and_merging(base: Any) -> None:
    model = adapted(base, init_lora_weights=False)
    layer = model.base_model.model.model.layers[0].mlp.down_proj
    x = torch.randn(5, layer.in_features).requires_grad_()
    upstream = torch.randn(5, layer.out_features)
    (layer(x) * upstream).sum().backward()
    whole = layer.base_layer.weight + layer.get_delta_weight("default")
    torch.testing.assert_close(x.grad, (upstream @ whole).detach(), rtol=1e-4, atol=1e-4)
    apart = logits(model)
    wanted, _ = layer.float_sum(["default"])
    lost = op.requantization_error(model)
    model.merge_adapter()
    assert layer.base_layer.kind == "int4"
    error = float((layer.base_layer.weight - wanted).norm() / wanted.norm())
    assert lost["base_model.model.model.layers.0.mlp.down_proj"] == pytest.approx(error, rel=1e-4)
    assert 0.02 < error < 0.2
    model.unmerge_adapter()
    assert torch.equal(logits(model), apart)
