"""The graph of a model: nodes, values and constants over the ONNX protos."""
