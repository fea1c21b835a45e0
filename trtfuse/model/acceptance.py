"""What becomes of a model that ONNX's checker refuses: it is put right, let pass, or refused.

Runtimes take much that the checker does not: nodes in no order, graphs without a name, operators
that ONNX does not have. So a model is refused only for what no runtime could make sense of, and the
error names the node or the tensor. All else is taken, and the report's notes say what was the
matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import onnx
from onnx import (
    AttributeProto,
    FunctionProto,
    GraphProto,
    ModelProto,
    NodeProto,
    SparseTensorProto,
    TensorProto,
    helper,
    numpy_helper,
)

from trtfuse.errors import ModelError
from trtfuse.ir.operators import (
    DEFAULT,
    default_opset,
    is_standard,
    label,
    name_of,
    newest,
    plain_domain,
)
from trtfuse.ir.tensor import misdeclared, misfilled

#: How many nodes or values a note names.
_NAMED = 3

#: The checker takes no larger version.
_MOST = (1 << 31) - 1
#: The type of an attribute by the field that holds its value.
_BY_FIELD = {
    "f": AttributeProto.FLOAT,
    "i": AttributeProto.INT,
    "s": AttributeProto.STRING,
    "t": AttributeProto.TENSOR,
    "g": AttributeProto.GRAPH,
    "sparse_tensor": AttributeProto.SPARSE_TENSOR,
    "floats": AttributeProto.FLOATS,
    "ints": AttributeProto.INTS,
    "strings": AttributeProto.STRINGS,
    "tensors": AttributeProto.TENSORS,
    "graphs": AttributeProto.GRAPHS,
    "sparse_tensors": AttributeProto.SPARSE_TENSORS,
}
#: What the attribute of a Constant may be.
_OF_CONSTANTS = frozenset(
    (
        *(AttributeProto.FLOAT, AttributeProto.FLOATS, AttributeProto.INT, AttributeProto.INTS),
        *(AttributeProto.STRING, AttributeProto.STRINGS),
        *(AttributeProto.TENSOR, AttributeProto.SPARSE_TENSOR),
    )
)

_SORTED = "nodes sorted, because they came before the nodes they read from"
_UNKNOWN = "not ONNX operators at the imported opset, so no rule knows them"
_IMPORTED = "operator sets imported that nodes use but the model does not import"
_NAMES = "graphs given a name"
_LISTED = "initializers listed as inputs, as IR versions before 4 require"
_TYPED = "attributes given the type of their value"
_IDENTITY = "bodies given an Identity, because they returned a value of the graph around them"
_UNTYPED = "outputs declared without a type"
_ONCE = "initializers listed as inputs only once"
_PLAIN = "Constants left with their first attribute and without inputs"
_TWICE = "Constants dropped, because another one of the same name follows"
_UNCALLED = "unused functions dropped, because they read values that nothing computes"


def put_right(model: ModelProto) -> list[str]:
    """Puts right what stands in the way of reading a model, or of loading it elsewhere.

    Args:
        model: changed in place.

    Returns:
        What was done, and what was let pass; a sentence for each kind.

    Raises:
        ModelError: it cannot be taken; the message names the node or the tensor.
    """
    notes = _Notes()
    _check_version(model, notes)
    _note_opset(model, notes)
    _check_functions(model)
    called = _called(model)
    dropped = []
    for function in model.functions:
        missing = _Repair(model, function, notes).run()
        if missing and _key(function) not in called:
            dropped.append(function)
            notes.add(_UNCALLED, f"'{function.name}'")
    if dropped:
        kept = [function for function in model.functions if function not in dropped]
        del model.functions[:]
        model.functions.extend(kept)
    _Repair(model, model.graph, notes).run()
    _list_once(model.graph, notes)
    if model.ir_version < 4:
        _list_initializers(model.graph, notes)
    for info in model.graph.output:
        if not info.HasField("type"):
            notes.add(_UNTYPED, f"'{info.name}'")
    return notes.sentences()


def look_over(model: ModelProto) -> list[str]:
    """Looks at what ONNX's checker lets pass: the nodes of functions, and the opset.

    Args:
        model: one that the checker accepts; not modified.

    Returns:
        What was let pass; a sentence for each kind.

    Raises:
        ModelError: one is not valid.
    """
    notes = _Notes()
    _note_opset(model, notes)
    for function in model.functions:
        _Repair(model, function, notes).check_nodes()
    return notes.sentences()


class _Notes:
    """What there is to say, by kind."""

    def __init__(self) -> None:
        self._about: dict[str, list[str]] = {}

    def add(self, kind: str, about: str = "") -> None:
        self._about.setdefault(kind, []).append(about)

    def sentences(self) -> list[str]:
        return [self._sentence(kind, about) for kind, about in self._about.items()]

    @staticmethod
    def _sentence(kind: str, about: list[str]) -> str:
        names = list(dict.fromkeys(name for name in about if name))
        if not names:
            return kind
        more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
        return f"{kind}: {', '.join(names[:_NAMED])}{more}"


# The model as a whole


def _check_version(model: ModelProto, notes: _Notes) -> None:
    if not model.HasField("graph"):
        raise ModelError("the model has no graph: it is empty, or not an ONNX model")
    if model.ir_version == 0:
        # Before IR 4, initializers would have to be inputs, and after it, those can be overridden.
        needed = helper.find_min_ir_version_for(model.opset_import, ignore_unknown=True)
        model.ir_version = max(4, needed)
        notes.add(f"no IR version is stated: {model.ir_version} is taken")
    elif model.ir_version > onnx.IR_VERSION:
        notes.add(
            f"IR version {model.ir_version} is newer than the installed onnx, which knows "
            f"{onnx.IR_VERSION}: what is new in it is not looked at"
        )


def _note_opset(model: ModelProto, notes: _Notes) -> None:
    """Notes where no rule knows ONNX's operators: two opsets are imported, or one too new."""
    newest_known = onnx.defs.onnx_opset_version()
    versions = {opset.version for opset in model.opset_import if opset.domain in DEFAULT}
    if len(versions) > 1:
        listed = " and ".join(map(str, sorted(versions)))
        notes.add(f"opsets {listed} of ONNX are both imported: no rule knows their operators")
    elif max(versions, default=0) > newest_known:
        notes.add(
            f"opset {max(versions)} of ONNX is newer than the installed onnx, which knows "
            f"{newest_known}: no rule knows its operators"
        )


def _key(function: FunctionProto) -> tuple[str, str, str]:
    return plain_domain(function.domain), function.name, function.overload


def _calls(nodes: Iterable[NodeProto]) -> Iterator[tuple[str, str, str]]:
    """What nodes, and those in their bodies, would be calls of, were there such functions."""
    for node in nodes:
        yield plain_domain(node.domain), node.op_type, node.overload
        for body in _bodies(node):
            yield from _calls(body.node)


def _check_functions(model: ModelProto) -> None:
    """Refuses two functions of one name, and functions that call themselves, directly or not.

    Raises:
        ModelError: there is one.
    """
    functions: dict[tuple[str, str, str], FunctionProto] = {}
    for function in model.functions:
        if functions.setdefault(_key(function), function) is not function:
            raise ModelError(f"the model has two functions '{function.name}'; rename one")
    calls = {
        key: [callee for callee in _calls(function.node) if callee in functions]
        for key, function in functions.items()
    }
    done: set[tuple[str, str, str]] = set()
    for first in functions:
        # Depth first: a function that is called while it is still open calls itself.
        pending = [(first, iter(calls[first]))]
        open_now = {first}
        while pending:
            key, remaining = pending[-1]
            callee = next((called for called in remaining if called not in done), None)
            if callee is None:
                done.add(key)
                open_now.discard(key)
                pending.pop()
            elif callee in open_now:
                raise ModelError(
                    f"function '{callee[1]}' calls itself, directly or through other functions"
                )
            else:
                open_now.add(callee)
                pending.append((callee, iter(calls[callee])))


def _called(model: ModelProto) -> set[tuple[str, str, str]]:
    """The keys of the functions that the model calls, directly or inside of others."""
    functions = {_key(function): function for function in model.functions}
    called: set[tuple[str, str, str]] = set()
    pending = list(_calls(model.graph.node))
    while pending:
        key = pending.pop()
        if key in functions and key not in called:
            called.add(key)
            pending.extend(_calls(functions[key].node))
    return called


def _list_once(graph: GraphProto, notes: _Notes) -> None:
    """Lists initializers among the inputs no more than once."""
    stored = {tensor.name for tensor in graph.initializer}
    seen: set[str] = set()
    for index in reversed(range(len(graph.input))):
        name = graph.input[index].name
        if name in seen and name in stored:
            del graph.input[index]
            notes.add(_ONCE, f"'{name}'")
        seen.add(name)


def _list_initializers(graph: GraphProto, notes: _Notes) -> None:
    """Lists initializers as inputs, as they have to be before IR 4."""
    listed = {info.name for info in graph.input}
    for tensor in graph.initializer:
        if tensor.name and tensor.name not in listed:
            listed.add(tensor.name)
            info = helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            graph.input.append(info)
            notes.add(_LISTED, f"'{tensor.name}'")


def _bodies(node: NodeProto) -> list[GraphProto]:
    return [
        body
        for attribute in node.attribute
        for body in (*([attribute.g] if attribute.HasField("g") else ()), *attribute.graphs)
    ]


# A graph, its bodies included


class _Repair:
    """Puts one graph or function right, and all bodies inside it."""

    def __init__(self, model: ModelProto, whole: GraphProto | FunctionProto, notes: _Notes) -> None:
        self.model = model
        self.whole = whole
        self.notes = notes
        self.functions = {_key(function) for function in model.functions}
        self.imports = (model if isinstance(whole, GraphProto) else whole).opset_import
        self.spelled = next((e.domain for e in self.imports if e.domain in DEFAULT), None)
        self.checker = onnx.checker.C.CheckerContext()
        self.checker.ir_version = max(0, min(model.ir_version, onnx.IR_VERSION))

    def run(self) -> set[str]:
        """Puts it right; returns the names that are read and that nothing computes."""
        self._import_missing()
        self._settle_versions()
        if isinstance(self.whole, GraphProto):
            self._name(self.whole, "graph")
        self._check(self.whole)
        missing = self._sort(self.whole)
        self._refuse_shadows(self.whole)
        return missing

    def check_nodes(self) -> None:
        """Looks at the nodes alone, and puts nothing right."""
        self._settle_versions()
        pending = [*self.whole.node]
        while pending:
            node = pending.pop()
            self._check_node(node)
            for body in _bodies(node):
                pending.extend(body.node)

    def _settle_versions(self) -> None:
        self.opset = default_opset(self.imports, self.model.ir_version)
        imported = {plain_domain(e.domain): max(0, min(e.version, _MOST)) for e in self.imports}
        self.checker.opset_imports = {**imported, "": max(0, min(self.opset, _MOST))}

    def _name(self, graph: GraphProto, name: str) -> None:
        if not graph.name:
            graph.name = name
            self.notes.add(_NAMES, f"'{name}'")

    def _import_missing(self) -> None:
        """Imports the domains of all nodes. Where one is missing, inference gives up on the model.

        Raises:
            ModelError: nothing tells the opset of ONNX's own operators.
        """
        used = dict.fromkeys(domain for domain, _, _ in _calls(self.whole.node))
        known = {plain_domain(opset.domain) for opset in self.imports}
        given = {plain_domain(opset.domain): opset.version for opset in self.model.opset_import}
        for domain in used:
            if domain in known:
                continue
            version = given.get(domain) or (newest(domain) if domain else 0)
            if not version and (self.model.opset_import or self.model.ir_version < 3):
                # Nobody can tell which operators are meant, and no rule tries to.
                continue
            if not version:
                raise ModelError(
                    "the model imports no operator set of ONNX, so nobody can tell what its "
                    "operators do; add one to its opset_import"
                )
            self.imports.append(helper.make_opsetid(domain, version))
            self.notes.add(_IMPORTED, f"'{domain or 'ai.onnx'}', version {version}")

    def _check(self, graph: GraphProto | FunctionProto) -> None:
        """Looks at the nodes and the sparse tensors of a graph and of its bodies."""
        self._plain_constants(graph)
        if isinstance(graph, GraphProto):
            for sparse in graph.sparse_initializer:
                _check_sparse(sparse, f"sparse initializer '{sparse.values.name}'")
        for node in graph.node:
            if node.domain == "ai.onnx" and self.spelled == "":
                node.domain = ""
            for attribute in node.attribute:
                self._settle_type(attribute, node)
                if attribute.HasField("g"):
                    self._name(attribute.g, attribute.name)
                for body in attribute.graphs:
                    self._name(body, attribute.name)
                if attribute.HasField("sparse_tensor"):
                    _check_sparse(attribute.sparse_tensor, label(node))
            self._check_node(node)
            for body in _bodies(node):
                self._check(body)

    def _plain_constants(self, graph: GraphProto | FunctionProto) -> None:
        """Leaves of Constants what runtimes look at: the first attribute, the last of a name."""
        last: dict[str, NodeProto] = {}
        again: list[NodeProto] = []
        for node in graph.node:
            if node.op_type != "Constant" or plain_domain(node.domain) or len(node.output) != 1:
                continue
            if node.input or len(node.attribute) > 1:
                del node.input[:], node.attribute[1:]
                self.notes.add(_PLAIN, label(node))
            earlier = last.pop(node.output[0], None)
            if earlier is not None:
                again.append(earlier)
                self.notes.add(_TWICE, f"'{node.output[0]}'")
            last[node.output[0]] = node
        if again:
            gone = {id(node) for node in again}
            kept = [node for node in graph.node if id(node) not in gone]
            copied = [NodeProto.FromString(node.SerializeToString()) for node in kept]
            del graph.node[:]
            graph.node.extend(copied)

    def _settle_type(self, attribute: AttributeProto, node: NodeProto) -> None:
        """Gives an attribute of an old exporter, which states no type, that of its value."""
        if attribute.type or attribute.ref_attr_name:
            return
        held = [field.name for field, _ in attribute.ListFields() if field.name in _BY_FIELD]
        if len(held) == 1:
            attribute.type = _BY_FIELD[held[0]]
            self.notes.add(_TYPED, f"'{attribute.name}' of {label(node)}")

    def _check_node(self, node: NodeProto) -> None:
        """Refuses a node that its operator's definition does not allow."""
        domain = plain_domain(node.domain)
        if not node.op_type:
            raise ModelError(f"{label(node)} names no operator; give it its op_type")
        if (domain, node.op_type, node.overload) in self.functions:
            return
        if not domain and node.op_type == "Constant":
            # Runtimes go by the type of its attribute, whatever its name.
            if not node.attribute or (
                node.attribute[0].type not in _OF_CONSTANTS and not node.attribute[0].ref_attr_name
            ):
                raise ModelError(f"{label(node)} is a Constant without a value; give it one")
            return
        if not domain and not is_standard(node.op_type, self.opset):
            self.notes.add(_UNKNOWN, f"{node.op_type} '{name_of(node)}'")
            return
        try:
            lean = _lean(node)
            if not domain and lean.domain:
                # The checker knows one spelling of the default domain.
                lean = NodeProto.FromString(lean.SerializeToString())
                lean.domain = ""
            onnx.checker.check_node(lean, self.checker)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            # The checker puts where the node is behind its reason; the label says that already.
            reason = " ".join(str(error).partition("==> Context")[0].split()).rstrip(".")
            raise ModelError(
                f"{label(node)} is not a valid {node.op_type}: {reason}; correct it, or export the "
                "model for another opset"
            ) from None

    # Order

    def _sort(self, graph: GraphProto | FunctionProto, inside: bool = False) -> set[str]:
        """Sorts the nodes of a graph and of its bodies; returns the names read from outside."""
        nodes = list(graph.node)
        reads: list[list[str]] = []
        for node in nodes:
            names = dict.fromkeys(name for name in node.input if name)
            for body in _bodies(node):
                names.update(dict.fromkeys(sorted(self._sort(body, inside=True), key=str)))
            reads.append(list(names))
        producer = {name: index for index, node in enumerate(nodes) for name in node.output if name}
        order = _order(nodes, reads, producer)
        if order != list(range(len(nodes))):
            for index, read in enumerate(reads):
                if any(producer.get(name, -1) >= index for name in read):
                    self.notes.add(_SORTED, label(nodes[index]))
            del graph.node[:]
            graph.node.extend(nodes[index] for index in order)
        known = {*producer, *_given(graph)}
        if isinstance(graph, GraphProto) and inside:
            reads.append(list(self._copy_outer(graph, known)))
        return {name for read in reads for name in read if name not in known}

    def _copy_outer(self, body: GraphProto, known: set[str]) -> set[str]:
        """Lets a body return copies of values of the graph around it; returns their names."""
        copied: set[str] = set()
        for info in body.output:
            if not info.name or info.name in known or not self.opset:
                continue
            outer, count = info.name, 0
            while info.name in known or info.name == outer:
                count += 1
                info.name = f"{outer}_returned{count}"
            known.add(info.name)
            node = helper.make_node("Identity", [outer], [info.name], domain=self.spelled)
            body.node.append(node)
            copied.add(outer)
            self.notes.add(_IDENTITY, f"'{outer}' of '{body.name}'")
        return copied

    def _refuse_shadows(self, graph: GraphProto | FunctionProto) -> None:
        """Refuses a body that computes what is computed before it in the graph around it."""
        self._enter(graph, set())

    def _enter(self, graph: GraphProto | FunctionProto, visible: set[str]) -> None:
        own = [name for name in _given(graph) if name not in visible]
        visible.update(own)
        for node in graph.node:
            for body in _bodies(node):
                self._enter(body, visible)
            for name in node.output:
                if name and name in visible:
                    raise ModelError(
                        f"{label(node)} computes '{name}', a name that is taken; rename one"
                    )
                own.append(name)
                visible.add(name)
        visible.difference_update(own)


def _given(graph: GraphProto | FunctionProto) -> Iterator[str]:
    """The names that a graph has before its first node runs."""
    if isinstance(graph, FunctionProto):
        yield from graph.input
        return
    yield from (info.name for info in graph.input)
    yield from (tensor.name for tensor in graph.initializer)
    yield from (sparse.values.name for sparse in graph.sparse_initializer)


def _order(nodes: list[NodeProto], reads: list[list[str]], producer: dict[str, int]) -> list[int]:
    """An order in which each node comes after those it reads from, near to the one that is there.

    Raises:
        ModelError: nodes read from each other in a circle.
    """
    order: list[int] = []
    done, waiting = bytearray(len(nodes)), bytearray(len(nodes))
    for first in range(len(nodes)):
        pending = [] if done[first] else [(first, iter(reads[first]))]
        waiting[first] = 1
        while pending:
            index, remaining = pending[-1]
            needed = next(
                (
                    at
                    for name in remaining
                    if (at := producer.get(name)) is not None and not done[at]
                ),
                None,
            )
            if needed is None:
                done[index] = 1
                order.append(index)
                pending.pop()
            elif waiting[needed]:
                path = [at for at, _ in pending]
                circle = [label(nodes[at]) for at in path[path.index(needed) :]]
                more = f" and {len(circle) - _NAMED} more" if len(circle) > _NAMED else ""
                raise ModelError(
                    f"nodes read from each other in a circle: {', '.join(circle[:_NAMED])}{more}; "
                    "no runtime can run that"
                )
            else:
                waiting[needed] = 1
                pending.append((needed, iter(reads[needed])))
    return order


def _lean(node: NodeProto) -> NodeProto:
    """A node for the checker, without the tensors and bodies in it, which are looked at by us."""
    if all(
        attribute.type not in (AttributeProto.TENSOR, AttributeProto.TENSORS)
        and attribute.type not in (AttributeProto.GRAPH, AttributeProto.GRAPHS)
        for attribute in node.attribute
    ):
        return node
    lean = NodeProto(op_type=node.op_type, name=node.name, domain=node.domain)
    lean.input.extend(node.input)
    lean.output.extend(node.output)
    for attribute in node.attribute:
        copy = lean.attribute.add(name=attribute.name, type=attribute.type)
        copy.ref_attr_name = attribute.ref_attr_name
        if attribute.HasField("t"):
            copy.t.CopyFrom(TensorProto(data_type=attribute.t.data_type, dims=[0]))
        elif attribute.HasField("g"):
            copy.g.name = "body"
        elif not (attribute.tensors or attribute.graphs):
            copy.CopyFrom(attribute)
    return lean


def _check_sparse(sparse: SparseTensorProto, what: str) -> None:
    """Refuses a sparse tensor whose numbers have no place in it; they may be in any order."""
    values, indices, dims = sparse.values, sparse.indices, list(sparse.dims)
    for part, tensor in (("values", values), ("indices", indices)):
        why_not = misdeclared(tensor) or misfilled(tensor)
        if why_not is not None:
            raise ModelError(f"the tensor with the {part} of {what} {why_not}")
    if not dims or min(dims) < 1 or len(values.dims) != 1:
        raise ModelError(f"{what} has the dimensions {dims} for values {list(values.dims)}")
    count, rank = values.dims[0], len(dims)
    linear, listed = [count], [count, rank]
    if not count:
        return
    if indices.data_type != TensorProto.INT64 or list(indices.dims) not in (linear, listed):
        raise ModelError(f"{what} has {count} values, but not as many indices in int64")
    if TensorProto.EXTERNAL in (values.data_location, indices.data_location):
        # What is in another file is looked at where it is needed.
        return
    places = numpy_helper.to_array(indices)
    sizes = np.array([np.prod(dims, dtype=np.float64)] if places.ndim == 1 else dims)
    if (places < 0).any() or (places >= sizes).any():
        raise ModelError(f"{what} has an index outside its dimensions {dims}")
