// The whole graph as a map: a mark for each node, coloured by what happened to it.
//
// The marks run in lines, as text does: nodes of one depth above each other, and a new line where one
// is full. dagre would not help here. Measured in Chromium, it takes 1.3 s for a network of 371 nodes,
// 3 s for 1,000, and at 2,000 it runs out of stack; and what it makes of those 371 is 9,540 pixels wide.
import { data } from "./data.js";
import { byId, draw, make, notice } from "./elements.js";
import { number } from "./format.js";
import { goToFusion } from "./fusions.js";
import { goToMiss } from "./misses.js";
import { fit } from "./text.js";

const FATES = {
  fused: "fused", cleaned: "cleaned up", grouped: "expected as one kernel", declined: "unchanged, with a near miss", kept: "unchanged",
};
const TALLEST = 14; // so many nodes above each other, then a new column
const MOST_NAMED = 36; // in a graph of so many nodes the marks have names
const LONGEST_THREAD = 12; // in columns; longer ones would only cross others
const MARGIN_OF_MAP = 6;

export function showOverview() {
  const body = byId("graph-body"), graph = data.graph;
  if (!graph?.nodes.length) {
    body.append(notice(!data.before.nodes ? "The graph is empty."
      : graph === null && data.pictures ? "This graph is too large to be drawn as a whole."
        : "This report does not include how the nodes are connected."));
    return;
  }
  const nodes = graph.nodes.map(([label, operator, depth, reads, fate, entry]) =>
    ({ label, operator: graph.operators[operator], depth, reads, fate, entry }));
  const counts = Object.keys(FATES).map((fate) => [fate, nodes.filter((node) => node.fate === fate).length]).filter(([, n]) => n);
  const host = make("div", { className: "scroll" });
  const reading = make("p", { className: "reading", role: "status" }, "Point at a node, or use the arrow keys, to see what happened to it.");
  const go = make("button", { type: "button", className: "plain", hidden: "" });
  body.append(make("div", { className: "card map" },
    make("ul", { className: "legend" }, ...counts.map(([fate, n]) => make("li", { className: `fate-${fate}` }, make("i"), `${FATES[fate]}: ${number(n)}`))),
    host, reading, go));

  const told = counts.map(([fate, n]) => `${n} ${FATES[fate]}`).join(", ");
  const columns = columnsOf(nodes);
  let current = -1, width = 0;
  function render() {
    const available = Math.max(260, host.clientWidth);
    if (Math.abs(available - width) < 8) return;
    width = available;
    const map = placeMarks(nodes, columns, width);
    const svg = drawMap(nodes, map, width, `The graph: ${told}. Arrow keys move from node to node; Enter shows more.`);
    const cursor = draw("path", { class: "cursor" });
    svg.append(cursor);
    const choose = (i) => {
      current = i;
      cursor.setAttribute("d", outline(map, i, 2));
      reading.textContent = sentence(nodes[i]);
      const { fate, entry } = nodes[i];
      go.hidden = entry === null;
      go.textContent = fate === "declined" ? "Show the near miss" : "Show the picture";
      go.onclick = () => (fate === "declined" ? goToMiss(entry) : goToFusion(entry));
    };
    followPointer(svg, map, choose, () => current, go);
    followKeys(svg, map, choose, () => current, go, host);
    host.replaceChildren(svg);
    if (current >= 0) choose(current);
  }
  render();
  let waiting = 0;
  addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(render, 150); });
}

// What happened to a node, as a sentence.
function sentence({ label, operator, fate, entry }) {
  const what = `${label} (${operator})`;
  if (fate === "kept") return `${what}: unchanged`;
  if (fate === "declined") return `${what}: not fused, because ${data.declined[entry].because}`;
  const { name, rule, into, built } = data.fused[entry];
  if (fate === "grouped") return `${what}: expected as one kernel, ${name}${built ? `; TensorRT: ${built.outcome}` : ""}`;
  return `${what}: ${into.length ? `fused by ${rule} into ${into.join(", ")}` : `removed by ${rule}`}`;
}

// The nodes of each depth, as the report tells it, in columns that are not too tall.
function columnsOf(nodes) {
  const layers = [];
  nodes.forEach(({ depth }, i) => (layers[depth] ??= []).push(i));
  return layers.filter(Boolean).flatMap((layer) =>
    Array.from({ length: Math.ceil(layer.length / TALLEST) }, (_, k) => layer.slice(k * TALLEST, (k + 1) * TALLEST)));
}

// Where the mark of each node stands: columns side by side, in lines as wide as the page.
function placeMarks(nodes, columns, width) {
  const named = nodes.length <= MOST_NAMED;
  const pitch = named ? 146 : nodes.length <= 300 ? 20 : nodes.length <= 1500 ? 14 : 11;
  const row = named ? 40 : pitch, side = Math.round(pitch * 0.68);
  const [wide, high] = named ? [132, 26] : [side, side];
  const across = Math.max(1, Math.floor((width - 8) / pitch));
  const places = new Array(nodes.length), order = [];
  let top = MARGIN_OF_MAP;
  for (let line = 0; line * across < columns.length; line += 1) {
    const inLine = columns.slice(line * across, (line + 1) * across);
    const tallest = Math.max(...inLine.map((column) => column.length));
    inLine.forEach((column, k) => column.forEach((i, r) => {
      places[i] = { x: MARGIN_OF_MAP + k * pitch, y: top + (r + (tallest - column.length) / 2) * row, line, column: k };
      order.push(i);
    }));
    top += tallest * row + (named ? MARGIN_OF_MAP : pitch * 0.7);
  }
  return { places, order, wide, high, pitch, named, height: Math.ceil(top) };
}

function outline({ places, wide, high }, i, apart) {
  const { x, y } = places[i];
  return `M${x - apart} ${y - apart}h${wide + 2 * apart}v${high + 2 * apart}h${-wide - 2 * apart}z`;
}

function drawMap(nodes, map, width, label) {
  // One path for all marks of a kind: 20,000 elements would be slow.
  const marks = Object.fromEntries(Object.keys(FATES).map((fate) => [fate, ""]));
  nodes.forEach(({ fate }, i) => { marks[fate] += outline(map, i, 0); });
  const svg = draw("svg", {
    class: map.named ? "named" : "", viewBox: `0 0 ${width} ${map.height}`, tabindex: 0, role: "application", "aria-roledescription": "graph", "aria-label": label,
  },
  draw("path", { class: "thread", d: threads(nodes, map) }),
  ...Object.entries(marks).filter(([, d]) => d).map(([fate, d]) => draw("path", { class: `fate-${fate}`, d })));
  if (map.named) {
    svg.append(...nodes.map(({ operator, fate }, i) => draw("text",
      { class: `inbox ${fate}`, x: map.places[i].x + map.wide / 2, y: map.places[i].y + 17, "pointer-events": "none" }, fit("inbox", operator, map.wide - 10))));
  }
  return svg;
}

// The wires between marks of one line that are not far apart.
function threads(nodes, { places, wide, high }) {
  let d = "";
  nodes.forEach(({ reads }, i) => reads.forEach((source) => {
    const from = places[source], to = places[i], far = to.column - from.column;
    if (from.line !== to.line || far <= 0 || far > LONGEST_THREAD) return;
    const x1 = from.x + wide, y1 = from.y + high / 2, x2 = to.x, y2 = to.y + high / 2, bend = (x2 - x1) / 2;
    d += y1 === y2 ? `M${x1} ${y1}H${x2}` : `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`;
  }));
  return d;
}

// The index of the smallest value below a limit; -1 if there is none.
function least(items, value, limit = Infinity) {
  let best = -1, smallest = limit;
  items.forEach((item, i) => {
    const v = value(item);
    if (v < smallest) [best, smallest] = [i, v];
  });
  return best;
}

function followPointer(svg, { places, wide, high, pitch }, choose, current, go) {
  const nearest = (event) => {
    const box = svg.getBoundingClientRect(), scale = svg.viewBox.baseVal.width / box.width;
    const x = (event.clientX - box.left) * scale, y = (event.clientY - box.top) * scale;
    return least(places, (place) => {
      const dx = Math.max(place.x - x, 0, x - place.x - wide), dy = Math.max(place.y - y, 0, y - place.y - high);
      return dx * dx + dy * dy;
    }, pitch * pitch);
  };
  svg.addEventListener("pointermove", (event) => {
    const i = nearest(event);
    if (i >= 0 && i !== current()) choose(i);
  });
  svg.addEventListener("click", (event) => {
    const i = nearest(event);
    if (i < 0) return;
    choose(i);
    if (!go.hidden) go.click();
  });
}

function followKeys(svg, map, choose, current, go, host) {
  const { places, order } = map;
  // The nearest in the next line up or down.
  const beyond = (down) => {
    const from = places[current()];
    const next = least(places, ({ x, y }) => ((y - from.y) * down > 1 ? Math.abs(x - from.x) + 3 * Math.abs(y - from.y) : Infinity));
    return next < 0 ? undefined : next;
  };
  const moves = {
    ArrowRight: () => order[Math.min(order.length - 1, order.indexOf(current()) + 1)],
    ArrowLeft: () => order[Math.max(0, order.indexOf(current()) - 1)],
    ArrowDown: () => beyond(1),
    ArrowUp: () => beyond(-1),
    Home: () => order[0],
    End: () => order.at(-1),
  };
  svg.addEventListener("focus", () => { if (current() < 0) choose(order[0]); });
  svg.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !go.hidden) {
      event.preventDefault();
      go.click();
      return;
    }
    const next = moves[event.key]?.();
    if (next === undefined) return;
    event.preventDefault();
    choose(next);
    scrollToMark(next);
  });
  function scrollToMark(i) {
    const scale = svg.clientWidth / svg.viewBox.baseVal.width, { y } = places[i];
    const lowest = Math.max(host.scrollTop, (y + map.high) * scale + 20 - host.clientHeight);
    host.scrollTop = Math.max(0, Math.min(y * scale - 40, lowest));
  }
}
