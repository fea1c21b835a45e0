"""The names of the nodes in a group that is a call.

The functions of groups are shared, so the nodes inside are called after their operators. The name
of a call tells which nodes it stands for, `conv1 + relu1`; where it does not, the model's metadata
do. Nodes have metadata from IR 10 on only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from onnx import ModelProto

#: What TensorRT puts between the names of the nodes that one layer runs.
_JOINT = " + "
#: The key in the metadata of a model; its value is a JSON object of lists, by the name of the call.
_KEY = "trtfuse.nodes"

Members = Mapping[str, Sequence[str]]


def tells(call: str, names: Sequence[str]) -> bool:
    """Whether the name of a call says which nodes it stands for."""
    return call.split(_JOINT) == list(names)


def noted_members(model: ModelProto) -> Members:
    """What the metadata of a model say of its calls, by their names."""
    for entry in model.metadata_props:
        if entry.key == _KEY:
            try:
                noted = json.loads(entry.value)
                return {call: [str(name) for name in names] for call, names in noted.items()}
            except (AttributeError, TypeError, ValueError):
                break
    return {}


def note_members(model: ModelProto, members: Members) -> None:
    """Lets the metadata of a model say which nodes its calls stand for."""
    if members == noted_members(model):
        return
    kept = [entry for entry in model.metadata_props if entry.key != _KEY]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    if members:
        model.metadata_props.add(key=_KEY, value=json.dumps(members, ensure_ascii=False))


def members(call: str, count: int, noted: Members) -> list[str]:
    """The names of the nodes that a call stands for, in the order of its function.

    Args:
        call: its name.
        count: how many nodes its function has.
        noted: of the model.

    Returns:
        As many names. Where neither metadata nor the name of the call tells, they are that name
        and a number.
    """
    names = list(noted.get(call, ())) or call.split(_JOINT)
    if len(names) == count:
        return names
    return [f"{call}/{number}" for number in range(1, count + 1)]
