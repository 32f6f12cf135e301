# SPDX-License-Identifier: Apache-2.0
"""`python -m octavo` is `octavo`."""

from __future__ import annotations

import sys

from octavo.cli import main

if __name__ == "__main__":
    sys.exit(main())
