# SPDX-License-Identifier: Apache-2.0
"""Benches: every figure the documents quote is measured here, against something measured in the same run."""
