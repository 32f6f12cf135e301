# SPDX-License-Identifier: Apache-2.0
"""from_pretrained of a folder that others save into: one save, or an error that says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch")
transformers = pytest.importorskip("transformers", reason="needs transformers")
pytest.importorskip("safetensors.torch", reason="needs safetensors")

import model_files  # noqa: E402
import octavo  # noqa: E402
from octavo.transformers import OctavoConfig, OctavoQuantizer  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path

IDS = torch.arange(5, 15)[None]


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(params=["float", "int8"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> list[Any]:
    """Two models whose files fit each other."""
    found = []
    for seed, act in enumerate(("gelu", "relu")):
        config = model_files.BERT | {"hidden_act": act}
        tensors = model_files.random_tensors(config, seed)
        folder = model_files.write_folder(tmp_path / act, config, tensors)
        small = request.param == "int8"
        found.append(octavo.compress(folder) if small else octavo.models.load(folder))
    found[0].save(tmp_path / "out")
    return found


def load(folder: Path) -> Any:
    return transformers.AutoModel.from_pretrained(folder, quantization_config=OctavoConfig())


# Called as soon as the config is read, by transformers 5 and 4, and before the weights are.
EARLY = [
    name
    for name in ("update_attn_implementation", "update_tp_plan")
    if hasattr(transformers.quantizers.base.HfQuantizer, name)
]


@pytest.mark.parametrize("step", [*EARLY[:1], "_process_model_before_weight_loading"])
def test_a_save_meanwhile(
    tmp_path: Path, pair: list[Any], monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    original = getattr(OctavoQuantizer, step)

    def then_save(self: Any, *args: Any, **options: Any) -> Any:
        found = original(self, *args, **options)
        pair[1].save(tmp_path / "out")
        return found

    with monkeypatch.context() as patch:
        patch.setattr(OctavoQuantizer, step, then_save)
        with pytest.raises(OSError, match="out: another save took its place while it was read"):
            load(tmp_path / "out")
    with torch.inference_mode():
        assert load(tmp_path / "out")(input_ids=IDS).last_hidden_state.isfinite().all()
