"""Whatever stands for a model: a path, bytes, a proto, or the graph of another tool."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from onnx import ModelProto

from trtfuse.errors import ModelError, UsageError
from trtfuse.ir.operators import NOT_UTF_8
from trtfuse.model.model import Model
from trtfuse.model.reading import parsed, read_file, read_proto
from trtfuse.progress import Steps

if TYPE_CHECKING:
    import onnx_graphsurgeon
    import onnx_ir

#: What stands for a model wherever one is asked for.
ModelLike: TypeAlias = "str | Path | bytes | ModelProto | onnx_graphsurgeon.Graph | onnx_ir.Model"


def read_model(source: ModelLike, progress: Steps | None = None) -> Model:
    """Reads a model.

    What ONNX's checker takes is taken. In what it refuses, as much as can be is put right or let
    pass (`trtfuse.model.acceptance`), and `Model.notes` say what.

    Args:
        source: a path, the bytes of a model, a `ModelProto`, an `onnx_graphsurgeon.Graph` or an
            `onnx_ir.Model`; not modified.
        progress: told how many steps are done, and of how many.

    Raises:
        ModelError: it cannot be read, no runtime could make sense of it, or its external data is
            missing or lies outside the model's folder.
        UsageError: it is nothing of all that.
    """
    try:
        if isinstance(source, (str, Path)):
            return read_file(Path(source), progress)
        proto, folder = _given(source)
        ours = not isinstance(source, ModelProto)
        return read_proto(proto, folder, proto, ours=ours, progress=progress)
    except UnicodeDecodeError:
        raise ModelError(NOT_UTF_8) from None


def _given(
    source: bytes | ModelProto | onnx_graphsurgeon.Graph | onnx_ir.Model,
) -> tuple[ModelProto, Path | None]:
    """The proto of a model that is in memory, and the folder of its external data if known."""
    if isinstance(source, ModelProto):
        return source, None
    if isinstance(source, bytes):
        return parsed(source, "the model"), None
    if _is_a(source, "onnx_graphsurgeon", "Graph"):
        from trtfuse.interop.graphsurgeon import from_graphsurgeon

        return from_graphsurgeon(source), None
    if _is_a(source, "onnx_ir", "Model"):
        from trtfuse.interop.onnx_ir import from_onnx_ir

        return from_onnx_ir(source)
    raise UsageError(
        "a model is a path, bytes, a ModelProto, an onnx_graphsurgeon.Graph or an onnx_ir.Model, "
        f"not {type(source).__module__}.{type(source).__name__}"
    )


def _is_a(source: Any, package: str, name: str) -> bool:
    """Whether an object is of a class of a package, which nothing is before it is imported."""
    return isinstance(source, getattr(sys.modules.get(package), name, ()))
