# SPDX-License-Identifier: Apache-2.0
"""What int8 costs all-MiniLM-L6-v2 on labelled sentences: cosine to float32, probe accuracy.

    python bench/accuracy_minilm.py [--data FOLDER] [--model FOLDER] [--json FILE]

FOLDER of the data holds train.tsv and test.tsv, one ``label<TAB>sentence`` a line. The probe is a
logistic regression (C=1) trained on the float32 vectors of train.tsv and applied to each engine's
vectors of test.tsv. Without the data the script says so and ends with exit code 0.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import octavo
from common.study import prepare

_DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "sentiment"


def main() -> int:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=_DATA)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    study = prepare(arguments.data, arguments.model)
    if study is None:
        return 0
    engines = {"float32": study.model, "int8": octavo.compress(study.model)}
    rows = [
        {"engine": f"octavo {name}", **study.scores(engine)} for name, engine in engines.items()
    ]
    for row in rows:
        print(
            f"{row['engine']:16s} accuracy {row['accuracy']:.4f}  cosine mean "
            f"{row['cosine_mean']:.5f}  min {row['cosine_min']:.5f}  ({row['seconds']} s)"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
