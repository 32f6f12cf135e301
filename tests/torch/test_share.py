# SPDX-License-Identifier: Apache-2.0
"""Centroids as parameters of a PyTorch model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import model_files
import octavo
from octavo.algorithms import sharing
from reference import assert_same_bits

if TYPE_CHECKING:
    from pathlib import Path

torch = pytest.importorskip("torch")
otorch = pytest.importorskip("octavo.torch")


def shared_parts(shape: tuple[int, int], clusters: int, zeros: float = 0.0) -> Any:
    rng = np.random.default_rng(0)
    weight = rng.standard_normal(shape).astype(np.float32)
    weight[rng.random(shape) < zeros] = 0
    return sharing.share(weight, clusters)


def test_gradients_are_summed_over_clusters() -> None:
    codes, scale, book = shared_parts((6, 10), 4)
    layer = otorch.SharedLinear(codes, scale)
    x, y = torch.randn(5, 10), torch.randn(5, 6)
    (layer(x) * y).sum().backward()
    gradient = (y.T @ x).numpy() * scale[:, None]
    expected = [gradient[codes == code].sum() for code in book]
    assert np.allclose(layer.codebook.grad.numpy(), expected, rtol=1e-4, atol=1e-5)


def test_zero_stays() -> None:
    codes, scale, book = shared_parts((8, 16), 5, zeros=0.5)
    layer = otorch.SharedLinear(codes, scale, np.zeros(8, np.float32))
    step = torch.optim.SGD(layer.parameters(), lr=10.0)
    layer(torch.randn(4, 16)).square().sum().backward()
    step.step()
    after = layer.to_octavo()
    assert isinstance(after, octavo.nn.SparseLinear)
    assert (after.weight_codes[codes == 0] == 0).all()
    assert not np.array_equal(np.unique(after.weight_codes), book)


@pytest.mark.parametrize("clusters", [4, 16, 200])
def test_untrained_layers_come_back_as_they_were(clusters: int) -> None:
    codes, scale, _ = shared_parts((12, 20), clusters)
    bias = np.arange(12, dtype=np.float32)
    back = otorch.SharedLinear(codes, scale, bias).to_octavo("relu")
    before = octavo.Linear.from_quantized(codes, scale, bias, activation="relu")
    x = np.random.default_rng(1).standard_normal((3, 20)).astype(np.float32)
    assert np.allclose(back.weight, before.weight, atol=float(scale.max()) * 0.51)
    assert np.abs(back(x) - before(x)).max() < 0.1
    table = otorch.SharedEmbedding(codes, scale)
    assert np.allclose(
        table(torch.tensor([[3]])).detach().numpy()[0, 0], octavo.Embedding(codes, scale)([3])[0]
    )


def test_a_whole_model(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    folder = model_files.write_folder(
        tmp_path / "a", model_files.BERT, model_files.random_tensors(model_files.BERT)
    )
    recipe = {"share": {"clusters": 8, "embedding_clusters": 12}, "prune": {"sparsity": 0.5}}
    small = octavo.compress(folder, recipe)
    model = transformers.BertModel.from_pretrained(folder)
    assert otorch.share_(model, like=small) is model
    back = otorch.with_shared(small, model)
    ids, mask = model_files.batch()
    # Activations are int8 in one and float32 in the other.
    with torch.no_grad():
        hidden = model(torch.tensor(ids), torch.tensor(mask)).last_hidden_state.numpy()
    kept = np.asarray(mask, bool)
    assert np.abs(hidden - back(ids, mask))[kept].max() < 0.3
    for name, layer in small.named_modules():
        if isinstance(layer, (octavo.Linear, octavo.Embedding)):
            same: Any = back.get_submodule(name)
            assert np.allclose(
                same.weight, layer.weight, atol=0.51 * float(layer.weight_scale.max())
            )
    optimizer = torch.optim.Adam([p for n, p in model.named_parameters() if "codebook" in n], 0.5)
    wanted = torch.randn(ids.shape[0], 32)
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        out = model(torch.tensor(ids), torch.tensor(mask)).last_hidden_state[:, 0]
        loss = (out - wanted).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    trained = otorch.with_shared(small, model)
    trained.save(tmp_path / "b")
    again = octavo.models.load(tmp_path / "b")
    assert_same_bits(again(ids, mask), trained(ids, mask))
    assert again.recipe == small.recipe


def test_share_without_an_encoder() -> None:
    model = torch.nn.ModuleDict(
        {"a": torch.nn.Linear(8, 6), "b": torch.nn.Embedding(5, 4), "c": torch.nn.Linear(2, 2)}
    )
    otorch.share_(model, 4, embedding_clusters=6, exclude=["c"])
    assert isinstance(model["a"], otorch.SharedLinear)
    assert isinstance(model["b"], otorch.SharedEmbedding)
    assert isinstance(model["c"], torch.nn.Linear)
    assert len(model["a"].codebook) <= 4
    with torch.no_grad():
        bad = torch.nn.Sequential(torch.nn.Linear(2, 2))
        bad[0].weight.fill_(float("nan"))
    with pytest.raises(ValueError, match="layer '0': weight: expected finite"):
        otorch.share_(bad)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_code_that_reads_the_float_modules(dtype: Any) -> None:
    class Offset(torch.nn.Embedding):
        pass

    model = torch.nn.ModuleDict(
        {
            "linear": torch.nn.Linear(24, 16),
            "table": torch.nn.Embedding(12, 24, padding_idx=3),
            "own": Offset(12, 24),
        }
    ).to(dtype)
    before = {name: (part.weight.shape, part.weight.dtype) for name, part in model.items()}
    weights = {name: part.weight.detach() for name, part in model.items()}
    otorch.share_(model, 64, embedding_clusters=64)
    assert {name: (part.weight.shape, part.weight.dtype) for name, part in model.items()} == before
    for name, weight in weights.items():
        assert (model[name].weight - weight).abs().max() < 0.1 * weight.abs().max()
    assert type(model["own"]) is Offset
    linear, table = model["linear"], model["table"]
    assert (linear.in_features, linear.out_features) == (24, 16)
    assert (table.num_embeddings, table.embedding_dim, table.padding_idx) == (12, 24, 3)
    rows = linear(table(torch.tensor([[1, 2]])))
    assert rows.dtype == dtype
    made = linear.to_octavo(), table.to_octavo()
    again = torch.from_numpy(made[0](made[1](np.array([[1, 2]]))))
    assert (rows - again).abs().max() < 0.1 * again.abs().max()
