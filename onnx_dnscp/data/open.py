"""The one place that knows all kinds of data."""

from __future__ import annotations

from onnx_dnscp.data import archive, folder, made, npy, npz, parquet  # noqa: F401  (importing registers them)
from onnx_dnscp.data.dataset import Dataset, open_dataset
from onnx_dnscp.data.synthetic import synthetic_dataset

__all__ = ["Dataset", "open_dataset", "synthetic_dataset"]
