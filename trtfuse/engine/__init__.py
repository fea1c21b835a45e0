"""TensorRT: build a model, read back what the builder made of it, compare."""
