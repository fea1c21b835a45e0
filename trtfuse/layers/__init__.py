"""Nodes seen as layers of TensorRT, in whatever way ONNX spells them."""
