"""Polygraphy: a loader that fuses, to stand between those that load a model and those that use it.

As in `BytesFromOnnx(FuseOnnx(OnnxFromPath("model.onnx")))`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import onnx
from onnx import ModelProto, helper

from trtfuse.errors import ModelError, UsageError, VerifyError
from trtfuse.interop.reading import ModelLike, read_model
from trtfuse.result.fusion_result import FusionResult
from trtfuse.run import fuse

try:
    from polygraphy import util
    from polygraphy.backend.base import BaseLoader
    from polygraphy.logger import G_LOGGER
except ModuleNotFoundError:
    raise UsageError(
        "Polygraphy is not installed: pip install polygraphy, or trtfuse[polygraphy]"
    ) from None

__all__ = ["FuseOnnx"]


class FuseOnnx(BaseLoader):  # type: ignore[misc]
    """A loader that applies TensorRT's documented fusions to an ONNX model.

    Args:
        model: the model, in any form that `trtfuse.fuse` takes, or a loader that returns one
            (`OnnxFromPath`, `ModifyOutputs`, `GsFromOnnx`).
        on_result: called with the `FusionResult` every time that the loader is, for the report.
        options: what else `trtfuse.fuse` takes, `skip` and `verify` for instance.

    Raises:
        TypeError: `trtfuse.fuse` has no such option.
    """

    def __init__(
        self,
        model: ModelLike | Callable[[], ModelLike],
        *,
        on_result: Callable[[FusionResult], object] | None = None,
        **options: Any,
    ) -> None:
        inspect.signature(fuse).bind(model, **options)
        self._model = model
        self._on_result = on_result
        self._options = options

    def call_impl(self) -> ModelProto:
        """Loads the model and fuses it.

        Returns:
            The fused model, with its external data loaded: Polygraphy's loaders know no folder.

        Raises:
            UsageError, ModelError: as `trtfuse.fuse`, or the external data cannot be read.
            VerifyError: the fused model does not agree with the original, or cannot be compared.
        """
        model, _ = util.invoke_if_callable(self._model)
        result = fuse(_typed(model), **self._options)
        if self._on_result is not None:
            self._on_result(result)
        verification = result.report.verification
        if not verification.ok:
            raise VerifyError(f"the fused model does not agree: {'; '.join(verification.notes)}")
        before, after = result.report.before.nodes, result.report.after.nodes
        G_LOGGER.verbose(f"trtfuse: {before} nodes before, {after} after")
        if result.folder is not None:
            try:
                onnx.load_external_data_for_model(result.model, str(result.folder))
            except (OSError, ValueError, onnx.checker.ValidationError) as error:
                raise ModelError(f"cannot read external data: {error}") from None
        return result.model


def _typed(model: ModelLike) -> ModelLike:
    """The model with types for its outputs, which Polygraphy's `ModifyOutputs` leaves out.

    ONNX demands them. Sizes are told as far as they are numbers or symbols of the inputs.
    """
    if not isinstance(model, ModelProto):
        return model
    if all(info.HasField("type") for info in model.graph.output):
        return model
    typed = ModelProto()
    typed.CopyFrom(model)
    dims = (d for info in typed.graph.input for d in info.type.tensor_type.shape.dim)
    symbols = {dim.dim_param for dim in dims}
    for info, value in zip(typed.graph.output, read_model(typed).graph.outputs, strict=True):
        if not info.HasField("type") and value.type is not None:
            shape = value.shape and [
                size if isinstance(size, int) or size in symbols else None for size in value.shape
            ]
            info.CopyFrom(helper.make_tensor_value_info(info.name, value.type, shape))
    return typed
