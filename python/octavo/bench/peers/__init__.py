# SPDX-License-Identifier: Apache-2.0
"""The same work in other libraries, as far as they are installed: PyTorch, ONNX Runtime, OpenVINO.

Each thread count runs in a process of its own (:mod:`octavo.bench.peers.worker`), because these
libraries read their settings when they load.
"""

from __future__ import annotations

from octavo.bench.peers.base import Layer, Peer, attempt, bind_all, find, prepare_all

__all__ = ["Layer", "Peer", "attempt", "bind_all", "find", "prepare_all"]
