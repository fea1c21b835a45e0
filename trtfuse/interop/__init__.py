"""Models as other tools hold them: GraphSurgeon, onnx-ir, networkx."""
