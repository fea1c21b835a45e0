"""Guards that see nodes as layers. Those that any rule may want are in `trtfuse.rewrite.guards`."""

from __future__ import annotations

from collections.abc import Callable

from trtfuse.layers.scale import Scale
from trtfuse.layers.ways import Way
from trtfuse.rewrite.condition import STATIC_SHAPES
from trtfuse.rewrite.match import Match
from trtfuse.rewrite.rule import guard


@guard(helps=STATIC_SHAPES)
def keeps_shape(m: Match, scale: str) -> str | None:
    """Applying the scale certainly gives the shape of its input."""
    seen: Scale = m[scale]
    return next((why for f in seen.factors if (why := f.broadcasts(seen.x))), None)


@guard(
    helps='nothing, for this engine; `objective="graph"`, or `--objective graph`, makes the '
    "rewrite all the same"
)
def serves_the_engine(m: Match, way: Callable[[Match], Way | None]) -> str | None:
    """The rewrite is not known to cost the engine kernels or traffic where it stands.

    With the objective "graph" this is not asked.
    """
    costs = None if m.root.home.model.objective == "graph" else way(m)
    return None if costs is None else str(costs)
