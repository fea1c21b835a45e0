"""The model: the graph with what stands around it, over a proto and written back to one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from onnx import FunctionProto, ModelProto, NodeProto, TensorProto

from trtfuse.analysis.growth import METADATA, Growth
from trtfuse.analysis.shapes import LARGEST_LIST, contradiction, infer_shapes
from trtfuse.errors import ModelError, TrtfuseError, internal
from trtfuse.ir.graph import GROUP_DOMAIN, Graph, Node, Value, copy_fields
from trtfuse.ir.operators import Operator, label, operator_of, own_operator, plain_domain
from trtfuse.ir.tensor import ELEMENT_TYPES, FoldedTensor, StoredTensor
from trtfuse.model.collector import collector_paused

#: What axes and sizes are of.
_OF_LISTS = (TensorProto.INT64, TensorProto.INT32)

#: What rewrites serve: the engine as it is today, or the graph alone.
Objective: TypeAlias = Literal["safe", "graph"]


class Model:
    """An ONNX model with its graph.

    Args:
        proto: the model; kept and never modified.
        folder: where its external data is; None if that is not known.

    Attributes:
        graph: the main graph.
        functions: the graphs of the model-local functions.
        ir_version: the IR version.
        growth: how much larger constants may make it, and have made it so far.
        names: every name that a value of any graph of the model has had.
        external: the tensors whose data is in files of their own.
        folder: as given.
        objective: what rules serve, see `trtfuse.run.fuse`.
        fixed: the sizes that symbols of its inputs were fixed to (`trtfuse.model.fixed`).
        misfit: why no runtime would load it, as far as the last inference of shapes has seen.
        notes: what was wrong with the model when it was read, one sentence each.
        origins: by what is not known of values, where that begins (`trtfuse.analysis.wording`).
    """

    def __init__(self, proto: ModelProto, folder: Path | None = None) -> None:
        self.proto = proto
        self.folder = folder
        self.ir_version = proto.ir_version
        self.growth = Growth(proto)
        self.objective: Objective = "safe"
        self.names: set[str] = set()
        self.external: list[StoredTensor] = []
        self.fixed: dict[str, int] = {}
        self.misfit: str | None = None
        self.notes: list[str] = []
        self.origins: dict[Callable[[Value], bool], dict[Value, Value]] = {}
        self._counter = 0
        self._inferred = False
        self._groups_dropped = False
        #: What inference finds wrong with it; empty for nothing, None where nobody has asked.
        self._contradiction: str | None = None
        self._functions = {(plain_domain(f.domain), f.name, f.overload): f for f in proto.functions}
        with collector_paused():
            self.graph = Graph(self, proto.graph)
            self.functions = [Graph.of_function(self, function) for function in proto.functions]
            for graph in (self.graph, *self.functions):
                graph.read_completely()
        self._check_interface()

    def _check_interface(self) -> None:
        """Refuses inputs without a type, and types that ONNX does not have."""
        given = [info for value, info in self.graph.inputs.items() if value.tensor is None]
        for what, infos in (("input", given), ("output", self.proto.graph.output)):
            for info in infos:
                kind = info.type.WhichOneof("value")
                if kind is None and what == "input":
                    raise ModelError(f"input '{info.name}' is declared without a type; give it one")
                element_type = info.type.tensor_type.elem_type
                if kind == "tensor_type" and element_type not in ELEMENT_TYPES:
                    raise ModelError(
                        f"{what} '{info.name}' is declared with the element type {element_type}, "
                        "which ONNX does not have"
                    )

    def graphs(self) -> Iterator[Graph]:
        """The main graph and those of functions, each with the bodies inside it."""
        for graph in (self.graph, *self.functions):
            yield from graph.walk()

    def note_external(self, tensor: TensorProto) -> None:
        """Keeps in mind a tensor whose data is in a file of its own."""
        if tensor.data_location == TensorProto.EXTERNAL:
            self.external.append(StoredTensor(tensor, self.folder))

    def operator(self, node: NodeProto, opset: int) -> Operator:
        """What a node runs.

        Args:
            node: of any graph of the model.
            opset: the version of the default domain there.

        Raises:
            ModelError: it calls a function with more than the function takes or returns.
        """
        domain, operator = plain_domain(node.domain), node.op_type
        if self._functions:
            function = self._functions.get((domain, operator, node.overload))
            if function is not None:
                for what, given, most in (
                    ("inputs", len(node.input), len(function.input)),
                    ("outputs", len(node.output), len(function.output)),
                ):
                    if given > most:
                        raise ModelError(
                            f"{label(node)} has {given} {what}, and the function "
                            f"'{function.name}' that it calls has {most}"
                        )
                return operator_of(domain, operator, "function", node.overload)
        if domain:
            return operator_of(domain, operator, "custom")
        return own_operator(operator, opset)

    def fresh_name(self, stem: str) -> str:
        """A name for a value that is like `stem` and that no value of the model has had."""
        name = stem
        while name in self.names:
            self._counter += 1
            name = f"{stem}_{self._counter}"
        self.names.add(name)
        return name

    def infer_shapes(self) -> None:
        """Lets every value know its type and shape, the first time it is called."""
        if not self._inferred:
            self._inferred = True
            infer_shapes(self)

    def infer_shapes_again(self) -> bool:
        """Infers shapes anew after changes, if anybody asked for any; whether that changed any."""
        self._contradiction = None
        self.origins.clear()
        return self._inferred and infer_shapes(self)

    def malformed(self, error: Exception, where: str) -> str:
        """Why no runtime can run the model: what a rule may stumble over.

        Rules count on nodes that can be run, such as a Transpose whose `perm` is a permutation.

        Args:
            error: what was raised in looking at the model, or in making something of it.
            where: what raised it, as in `trtfuse.errors.internal`.

        Returns:
            The end of the sentence "not fused because ...".

        Raises:
            InternalError: ONNX's inference finds nothing wrong, so the mistake is ours.
            TrtfuseError, MemoryError: the error itself, where it is one.
        """
        if isinstance(error, (TrtfuseError, MemoryError)):
            raise error
        if self._contradiction is None:
            self._contradiction = contradiction(self) or ""
        if not self._contradiction:
            raise internal(error, where) from error
        return f"no runtime can run the model: {self._contradiction}"

    def infer_shapes_afresh(self) -> None:
        """Infers shapes as they would be if the model were written and read again.

        Where nobody has asked for any yet, they are inferred once somebody does.
        """
        self._contradiction = None
        self.origins.clear()
        for graph in self.graphs():
            for node in graph.nodes():
                for value in node.outputs:
                    if value is not None:
                        value.forget()
        if self._inferred:
            infer_shapes(self)

    def _note_growth(self, proto: ModelProto) -> None:
        """Says in the metadata how far constants have grown, where the limit has stopped some."""
        said = self.growth.metadata
        if said is not None:
            entries = (entry for entry in proto.metadata_props if entry.key == METADATA)
            entry = next(entries, None) or proto.metadata_props.add(key=METADATA)
            entry.value = said

    def add_group_function(self, function: FunctionProto) -> None:
        """Adds the function that a group of nodes became, with the imports of the model."""
        for opset in self.proto.opset_import:
            # Inside functions the checker knows only one spelling of the default domain.
            function.opset_import.add(domain=plain_domain(opset.domain), version=opset.version)
        _import_groups(function)
        self._functions[GROUP_DOMAIN, function.name, ""] = function
        graph = Graph.of_function(self, function)
        graph.read_completely()
        self.functions.append(graph)

    def drop_group_functions(self) -> None:
        """Takes away the functions of groups, which nothing calls any more, and their domain."""
        self.functions = [graph for graph in self.functions if not graph.is_group]
        self._functions = {key: f for key, f in self._functions.items() if key[0] != GROUP_DOMAIN}
        self._groups_dropped = True

    def embed_lists(self) -> None:
        """Takes axes and sizes out of external files.

        Runtimes infer shapes as they load a model, and refuse it once they need numbers from there.
        In a smaller graph they may get further.
        """
        if self.folder is None:
            return
        for graph in self.graphs():
            for value in graph.initializers:
                tensor = value.tensor
                if not isinstance(tensor, StoredTensor) or not tensor.external:
                    continue
                if tensor.type in _OF_LISTS and tensor.size <= LARGEST_LIST:
                    value.tensor = FoldedTensor(np.array(tensor.array()), tensor.type)

    def raise_ir_version(self, least: int) -> None:
        """Makes it a model of this IR version, if its own is lower."""
        self.ir_version = max(self.ir_version, least)

    def to_proto(self) -> ModelProto:
        """The model as ONNX has it. External data stays where it is."""
        proto = ModelProto()
        copy_fields(self.proto, proto, without=("graph", "functions"))
        proto.ir_version = self.ir_version
        self._note_growth(proto)
        proto.graph.SetInParent()
        self.graph.write(proto.graph)
        for graph in self.functions:
            proto.functions.append(graph.write_function())
            if any(node.proto.domain == GROUP_DOMAIN for node in _all_nodes(graph)):
                _import_groups(proto.functions[-1])
            elif self._groups_dropped:
                _forget_groups(proto.functions[-1])
        if any(graph.is_group for graph in self.functions):
            _import_groups(proto)
        elif self._groups_dropped:
            _forget_groups(proto)
        return proto


def _all_nodes(root: Graph) -> Iterator[Node]:
    """The nodes of a graph and of all bodies inside it."""
    for graph in root.walk():
        yield from graph.nodes()


def _import_groups(proto: ModelProto | FunctionProto) -> None:
    """Lets a model or function import the domain of the functions that groups became."""
    if all(opset.domain != GROUP_DOMAIN for opset in proto.opset_import):
        proto.opset_import.add(domain=GROUP_DOMAIN, version=1)


def _forget_groups(proto: ModelProto | FunctionProto) -> None:
    """The reverse of `_import_groups`."""
    kept = [opset for opset in proto.opset_import if opset.domain != GROUP_DOMAIN]
    del proto.opset_import[:]
    proto.opset_import.extend(kept)
