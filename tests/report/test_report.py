# SPDX-License-Identifier: Apache-2.0
"""The report: what it says is what was measured, and the page holds all that it shows."""

from __future__ import annotations

import html.parser
import json
import re
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import model_files
import octavo
from bench_rows import row_json
from octavo import cli, report
from octavo.data.sentences import SENTENCES
from octavo.data.tokenizer import tokenize
from octavo.evaluation.layers import layer_errors
from octavo.report import collect, content, facts, layer_figures, page, theme

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("matplotlib", reason="matplotlib draws the plots")


class Page(html.parser.HTMLParser):
    """Checks that tags nest, and keeps attributes and text."""

    VOID = frozenset({"meta", "br", "img", "link", "path", "use", "rect", "circle"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.tags: list[str] = []
        self.text = ""
        self.feed(text)
        assert self.stack == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in self.VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_holds_all_that_it_shows(folder: Path, results: Path, tmp_path: Path) -> None:
    made = report.write(tmp_path / "page.html", model=folder, bench=[results])
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert made["bytes"] == len(text.encode("utf-8")) <= 2_000_000
    assert len(made["plots"]) == 6
    seen = Page(text)
    assert seen.tags.count("svg") == 6
    assert not {"script", "link", "img", "iframe", "object", "image"} & set(seen.tags)
    for tag, name, value in seen.attributes:
        assert not name.startswith("on"), (tag, name)
        assert name not in ("src", "srcset", "action"), (tag, name)
        assert not name.endswith("href") or value.startswith("#"), (tag, value)
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)", text)
    policy = next(v for t, n, v in seen.attributes if (t, n) == ("meta", "content") and "src" in v)
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    ids = [value for _, name, value in seen.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    used = {value[1:] for _, name, value in seen.attributes if name.endswith("href")}
    used |= set(re.findall(r"url\(#([^)]*)\)", text))
    assert used <= set(ids)
    labels = [v for t, n, v in seen.attributes if (t, n) == ("svg", "aria-label")]
    assert len(labels) == 6
    assert all(len(label) > 30 for label in labels)


def test_the_same_input_gives_the_same_bytes(folder: Path, results: Path, tmp_path: Path) -> None:
    pages = []
    for name in ("a.html", "b.html"):
        report.write(tmp_path / name, model=folder, bench=[results])
        pages.append((tmp_path / name).read_bytes())
    assert pages[0] == pages[1]


def test_facts_are_those_of_the_model(folder: Path, tmp_path: Path) -> None:
    facts = collect.collect_model(folder)
    model, small = octavo.models.load(folder), octavo.compress(folder)
    ids, mask = tokenize(folder, SENTENCES, 24)
    errors = {error.name: error for error in layer_errors(model, small, ids, mask)}
    layers = {layer.name: layer for layer in facts.layers}
    assert {name for name, layer in layers.items() if layer.relative is not None} == set(errors)
    for name, error in errors.items():
        assert (layers[name].relative, layers[name].sqnr_db) == (error.relative, error.sqnr_db)
    stored = (folder / "model.safetensors").stat().st_size
    assert 0 < stored - facts.float_bytes < 10_000  # the file's header
    small.save(tmp_path / "int8")
    assert 0 < (tmp_path / "int8" / "model.safetensors").stat().st_size - facts.nbytes < 10_000
    assert facts.text == f"{len(SENTENCES)} sentences"
    assert 0.99 < (facts.cosine_min or 0) <= (facts.cosine_mean or 0) <= 1.0001
    query = layers["encoder.layer.0.attention.self.query"]
    assert (query.kind, query.shape) == ("linear", (32, 32))
    assert query.float_bytes == 4 * (32 * 32 + 32)


def test_ranges_leave_padding_out(folder: Path) -> None:
    facts = collect.collect_model(folder)
    model = octavo.models.load(folder)
    ids, mask = tokenize(folder, SENTENCES, 24)
    seen: list[Any] = []
    query = model.encoder.layer[0].attention.self.query

    class Spy(octavo.nn.Module):
        def __call__(self, x: Any, *rest: Any) -> Any:
            seen.append(np.asarray(x))
            return query(x, *rest)

    model.encoder.layer[0].attention.self.query = Spy()
    model(ids, mask)
    real = seen[0].reshape(-1, 32)  # packed: rows of tokens alone
    inputs = next(
        layer.inputs for layer in facts.layers if layer.name.endswith("0.attention.self.query")
    )
    assert inputs is not None
    assert (inputs.low, inputs.high) == (real.min(), real.max())
    inner = np.percentile(real, (0.1, 99.9))
    assert (inputs.inner_low, inputs.inner_high) == pytest.approx(tuple(inner))
    everything = np.percentile(model.embed(ids, None), (0, 0.1, 99.9, 100))
    assert tuple(everything) != pytest.approx((real.min(), *inner, real.max()))


def test_an_artifact_with_and_without_its_float_model(
    folder: Path, results: Path, tmp_path: Path
) -> None:
    octavo.compress(folder).save(tmp_path / "int8")
    alone = report.write(tmp_path / "a.html", model=tmp_path / "int8", bench=[results])
    assert alone["cosine_min"] is None
    assert "Error per layer" not in alone["plots"]
    assert "Activation ranges" in alone["plots"]
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "Needs the float model: --reference FOLDER" in text
    assert alone["stored_bytes"] == (tmp_path / "int8" / "model.safetensors").stat().st_size
    both = report.write(
        tmp_path / "b.html", model=tmp_path / "int8", reference=folder, bench=[results]
    )
    assert len(both["plots"]) == 6
    assert both["cosine_min"] > 0.99


def test_an_artifact_of_4_bits(folder: Path, results: Path, tmp_path: Path) -> None:
    small = tmp_path / "int4"
    octavo.compress(folder, {"quantize": "int4"}).save(small)
    facts = collect.collect_model(small, folder)
    linear = [layer for layer in facts.layers if layer.kind == "linear"]
    assert {(layer.bits, layer.inputs_as) for layer in linear} == {(4, "dynamic")}
    measured = [layer.relative for layer in linear if layer.relative is not None]
    assert len(measured) == 12
    assert all(0.02 < error < 0.5 for error in measured)
    assert list(facts.models) == ["octavo", "octavo float32"]
    page = report.write(tmp_path / "a.html", model=small, reference=folder, bench=[results])
    assert page["cosine_min"] == pytest.approx(facts.cosine_min)
    with pytest.raises(ValueError, match="is compressed; name the float model's folder"):
        collect.collect_model(small, small)


def test_references_that_do_not_fit(folder: Path, results: Path, tmp_path: Path) -> None:
    octavo.compress(folder).save(tmp_path / "int8")
    other = model_files.write_random(tmp_path / "other", "distilbert")
    for model, reference, message in (
        (folder, folder, "is a float model already"),
        (tmp_path / "int8", tmp_path / "int8", "is compressed; name the float model"),
        (tmp_path / "int8", other, "is not the model that the artifact was made of"),
    ):
        with pytest.raises(ValueError, match=f"reference: .*{message}"):
            report.write(tmp_path / "x.html", model=model, reference=reference, bench=[results])
    with pytest.raises(ValueError, match="reference: it goes with a model"):
        report.write(tmp_path / "x.html", reference=folder)
    assert not (tmp_path / "x.html").exists()


def test_without_a_tokenizer(tmp_path: Path, results: Path) -> None:
    folder = model_files.write_random(tmp_path / "model")
    assert "random token ids" in collect.collect_model(folder).text
    (folder / "tokenizer.json").write_text(json.dumps(large_tokenizer()), encoding="utf-8")
    with pytest.raises(ValueError, match=r"tokenizer\.json knows more words than the model"):
        collect.collect_model(folder)


def large_tokenizer() -> dict[str, Any]:
    words = {**model_files.TOKENIZER["model"], "vocab": {"[PAD]": 0, "[UNK]": 5000}}  # type: ignore[dict-item]
    return {**model_files.TOKENIZER, "model": words}


def test_it_measures_what_no_file_tells(folder: Path, tmp_path: Path) -> None:
    steps: list[tuple[str, float]] = []
    made = report.write(
        tmp_path / "page.html",
        model=folder,
        seconds=0.005,
        progress=lambda text, done: steps.append((text, done)),
    )
    assert len(made["plots"]) == 6
    cases = [pair["case"] for pair in made["int8_pays"]]
    assert cases[0] == "1x16"
    assert set(cases[1:]) == {
        f"{m}x{n}x{k}" for m in (1, 128) for n, k in ((32, 32), (48, 32), (32, 48))
    }
    shares = [done for _, done in steps]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, 1.0)
    assert "timing 16 tokens" in [text for text, _ in steps]


def test_rooflines_are_those_of_each_thread_count() -> None:
    probed = row_json("1x8x8", "octavo", 1e-6, threads=2, extra={"dot": 50.0, "read": 5.0})
    document = {"rows": [probed, row_json("1x8x8", "numpy float32", 1e-6, threads=3)]}
    measured = {"threads": 1, "dot_gops": 100.0, "read_gbs": 10.0}
    found = content.rooflines([{**document, "roofline": measured}])
    assert [(r["threads"], r["dot_gops"], r["read_gbs"]) for r in found] == [
        (1, 100.0, 10.0),
        (2, 50.0, 5.0),
    ]


def test_bad_results(tmp_path: Path, results: Path) -> None:
    document = json.loads(results.read_text(encoding="utf-8"))
    del document["rows"][1]["ops"]
    bad = tmp_path / "bad.json"
    bad.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(ValueError, match=r"bad\.json: row 1 has no ops"):
        report.write(tmp_path / "x.html", bench=[results, bad])
    assert not (tmp_path / "x.html").exists()


def test_a_page_that_would_be_too_large(
    tmp_path: Path, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "MAX_BYTES", 5000)
    with pytest.raises(ValueError, match=r"the page would have .* bytes, at most 5000"):
        report.write(tmp_path / "x.html", bench=[results])
    assert not (tmp_path / "x.html").exists()


def test_long_tables_are_cut_and_say_so() -> None:
    table = page.Table("t", ("a",), [(str(index),) for index in range(page.MOST_ROWS + 7)])
    text = page.render("t", "", [], [], None, [table])
    assert "7 more rows are left out" in text
    assert text.count("<tr>") == page.MOST_ROWS + 1


def test_many_layers_stay_one_plot() -> None:
    layers = [
        facts.LayerFacts(f"h.{index}.{part}", "linear", (8, 8), 256, 72, 0.01, 40.0, bounds)
        for index in range(60)
        for part in "abcdefghij"
        for bounds in (facts.Range(-300.0, 300.0, -1.0, 1.0),)
    ]
    with theme.style():
        size = layer_figures.size_figure(layers)
        names = [label.get_text() for label in size.axes[0].get_yticklabels()]
        assert len(names) == layer_figures.MOST_BLOCKS
        assert names[-1] == "33 others"
        for make in (layer_figures.error_figure, layer_figures.activation_figure):
            made = make(layers)
            assert len(made.axes[0].get_xticks()) <= 14
            assert len(theme.inline_svg(made, "x", "")) < 600_000
        assert layer_figures.activation_figure(layers).axes[0].get_yscale() == "symlog"


def test_cases_that_are_not_drawn_are_said() -> None:
    rows = [
        row_json(f"{m}x8x8", engine, 1e-6, ops=2048, nbytes=1300)
        for m in range(1, 21)
        for engine in ("octavo", "numpy float32")
    ]
    plot = content.plots(None, rows, [])[1]
    assert plot.title == "Latency"
    assert "The first 14 of 20 cases; the table has all." in plot.caption
    drawn = re.findall(r">(\d+)x8x8<", plot.svg or "")
    assert drawn == [str(m) for m in range(1, 15)]


def test_a_slower_int8_is_said_so() -> None:
    rows = [row_json("1x8x8", "octavo", 2.0), row_json("1x8x8", "numpy float32", 1.0)]
    speed = content.cards(None, rows)[0]
    assert (speed.title, speed.value) == ("Speed", "2.00× slower")


def test_command(
    folder: Path, results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["report", str(tmp_path / "p.html"), "--model", str(folder), "--bench", str(results)]
    assert cli.main(words) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert captured.out.startswith(f"{tmp_path / 'p.html'}: ")
    assert "roofline" in captured.out
    assert cli.main([*words, "--json", "--title", "Mine"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["bytes"] == (tmp_path / "p.html").stat().st_size
    assert "<h1>Mine</h1>" in (tmp_path / "p.html").read_text(encoding="utf-8")


def test_ctrl_c_leaves_the_old_page(
    results: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "p.html"
    out.write_text("old", encoding="utf-8")
    before = sorted(path.name for path in tmp_path.iterdir())

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("octavo.bench.files.os.fsync", interrupted)
    assert cli.main(["report", str(out), "--bench", str(results)]) == 130
    assert "nothing was left half-written" in capsys.readouterr().err
    assert out.read_text(encoding="utf-8") == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_places_that_cannot_be_written(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--bench", str(results)]
    assert cli.main(["report", str(tmp_path), *words]) == 1
    assert "is a folder; name a file" in capsys.readouterr().err
    (tmp_path / "p.html").write_text("old", encoding="utf-8")
    (tmp_path / "p.html").chmod(0o444)
    assert cli.main(["report", str(tmp_path / "p.html"), *words]) == 1
    assert "p.html is read-only" in capsys.readouterr().err
    assert (tmp_path / "p.html").read_text(encoding="utf-8") == "old"


def test_no_matplotlib(
    results: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert cli.main(["report", str(tmp_path / "p.html"), "--bench", str(results)]) == 1
    assert 'pip install "octavo[report]"' in capsys.readouterr().err
