"""Every error that a user of trtfuse can meet.

Each carries one line: what is wrong, where, and what to do about it.
"""


class TrtfuseError(Exception):
    """What all errors of this package have in common, to catch them together."""


class UsageError(TrtfuseError, ValueError):
    """An argument that makes no sense: an unknown rule, a malformed shape, a wrong level."""


class ModelError(TrtfuseError):
    """A model that cannot be read, is not valid ONNX, or cannot be written."""


class VerifyError(TrtfuseError):
    """A check that could not be made, as opposed to one that was made and failed."""


class EngineError(TrtfuseError):
    """What TensorRT cannot build, or what cannot be read of what it built."""
