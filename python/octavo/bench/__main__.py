# SPDX-License-Identifier: Apache-2.0
"""``python -m octavo.bench``: the same as ``octavo bench``."""

from __future__ import annotations

import sys

from octavo.cli import main

if __name__ == "__main__":
    sys.exit(main(["bench", *sys.argv[1:]]))
