# SPDX-License-Identifier: Apache-2.0
"""The same work in other libraries, as far as they are installed: PyTorch, ONNX Runtime, OpenVINO.

Each thread count runs in a process of its own (:mod:`octavo.bench.peers.worker`), because these
libraries read their settings when they load.
"""
