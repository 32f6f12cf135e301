# SPDX-License-Identifier: Apache-2.0
"""The functions behind `octavo.functional`: each checks its arguments and calls the backend."""
