"""What `fuse` returns: the fused model and its report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from onnx import ModelProto

from trtfuse.errors import UsageError, nothing_else_raised
from trtfuse.model.saving import same_file, save_model
from trtfuse.result.model_file import OutputFile
from trtfuse.result.report import Report

if TYPE_CHECKING:
    import onnx_graphsurgeon
    import onnx_ir


@dataclass(frozen=True, repr=False)
class FusionResult:
    """The result of `fuse`.

    Attributes:
        model: the fused model. External data stays where the original has it: write the model
            with `save`, which copies it.
        report: what was fused and what was not.
        source: the path of the original, or None if it has none.
        data: the files with the external data of the original.
        folder: the folder of the original, where its external data is, or None if it has none.
    """

    model: ModelProto
    report: Report
    source: Path | None = None
    data: tuple[Path, ...] = ()
    folder: Path | None = None

    @property
    def ok(self) -> bool:
        """Whether the check passed; true if nothing was checked."""
        return self.report.verification.ok

    def __repr__(self) -> str:
        return f"<FusionResult: {self.report!r}>"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return self.report._repr_html_()

    @nothing_else_raised
    def save(self, path: str | Path) -> None:
        """Writes the model: whole or not at all, and with its external data if it has any.

        The report then has its path, size and SHA-256.

        Args:
            path: where to; an existing file is replaced. External data goes to `PATH.data`.

        Raises:
            UsageError: this is the path of the original, or of its external data.
            ModelError: it cannot be written.
        """
        if self.source is not None and same_file(self.source, Path(path)):
            raise UsageError(f"'{path}' is the original; write the fused model to another path")
        if any(same_file(data, Path(path)) for data in self.data):
            raise UsageError(f"'{path}' holds weights of the original; write to another path")
        beside = save_model(self.model, path, self.folder)
        self.report.output = OutputFile.of(Path(path), beside)

    @nothing_else_raised
    def to_graphsurgeon(self) -> onnx_graphsurgeon.Graph:
        """The fused model as a GraphSurgeon graph, which shares nothing with `model`.

        External weights become arrays that are mapped into memory, copy on write. Metadata and
        doc strings of nodes are lost, as always with GraphSurgeon.

        Raises:
            UsageError: GraphSurgeon is not installed.
            ModelError: external weights cannot be found, or the computation depends on what
                GraphSurgeon cannot hold: overloads of functions, attributes of rare kinds.
        """
        from trtfuse.interop.graphsurgeon import to_graphsurgeon

        return to_graphsurgeon(self.model, self.folder)

    @nothing_else_raised
    def to_onnx_ir(self) -> onnx_ir.Model:
        """The fused model as an onnx-ir model, which shares nothing with `model`.

        External weights stay external, in the files of the original.

        Raises:
            UsageError: onnx-ir is not installed.
            ModelError: the model has sparse initializers, which onnx-ir does not have.
        """
        from trtfuse.interop.onnx_ir import to_onnx_ir

        return to_onnx_ir(self.model, self.folder)
