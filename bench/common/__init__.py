# SPDX-License-Identifier: Apache-2.0
"""What the benchmark scripts share: peers, worker processes, targets."""
