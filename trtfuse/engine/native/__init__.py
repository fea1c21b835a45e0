"""What runs in the process that TensorRT runs in.

Nothing here imports ONNX, numpy or the rest of trtfuse: a child process loads these files and
TensorRT alone, and so starts in about a tenth of a second.
"""
