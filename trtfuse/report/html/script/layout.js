// Where the nodes and wires of a drawing stand. dagre does it; it is a script of its own, before this.

const BETWEEN_NODES = 20, BETWEEN_WIRES = 20, BETWEEN_RANKS = 40, LABEL_GAP = 7;

// Lays out nodes from top to bottom.
//
// nodes: each has `wide` and `high`, and gets `x` and `y` of its middle.
// wires: each leads from one node to another (`from`, `to`: the nodes themselves), has a label that
//   is `label.wide` and `label.high`, or null, and gets `points` to pass, and `label.x` and `label.y`.
// framed: nodes that no other may stand between.
//
// Answers with `rank(y)`, how high the nodes and labels are whose middles are at y, and `frame`, the
// rectangle around the framed ones.
export function layOut(nodes, wires, framed = []) {
  const graph = new dagre.graphlib.Graph({ multigraph: true, compound: framed.length > 0 });
  graph.setGraph({ nodesep: BETWEEN_NODES, edgesep: BETWEEN_WIRES, ranksep: BETWEEN_RANKS });
  const names = new Map(nodes.map((node, i) => [node, `node ${i}`]));
  for (const [node, name] of names) graph.setNode(name, { width: node.wide, height: node.high });
  wires.forEach(({ from, to, label }, i) => {
    const size = label ? { width: label.wide, height: label.high, labelpos: "r", labeloffset: LABEL_GAP } : {};
    graph.setEdge(names.get(from), names.get(to), size, `wire ${i}`);
  });
  if (framed.length) {
    graph.setNode("frame", {});
    framed.forEach((node) => graph.setParent(names.get(node), "frame"));
  }
  dagre.layout(graph);

  const heights = new Map();
  const note = (y, high) => heights.set(Math.round(y), Math.max(high, heights.get(Math.round(y)) ?? 0));
  for (const [node, name] of names) {
    ({ x: node.x, y: node.y } = graph.node(name));
    note(node.y, node.high);
  }
  wires.forEach((wire, i) => {
    const laid = graph.edge(names.get(wire.from), names.get(wire.to), `wire ${i}`);
    // The first and the last are where the wire would leave and reach the middle of a node.
    wire.points = laid.points.slice(1, -1);
    if (wire.label) {
      wire.label.x = laid.x - wire.label.wide / 2;
      wire.label.y = laid.y;
      note(laid.y, wire.label.high);
    }
  });
  return { rank: (y) => heights.get(Math.round(y)) ?? 0, frame: framed.length ? graph.node("frame") : null };
}
