"""An ONNX file in memory: its graph, its tensors, its units, and how to run it."""
