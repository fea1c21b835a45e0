// Drawings of a few nodes: boxes for nodes, pills for the values that go in and come out, wires.
import { draw } from "./elements.js";
import { shape } from "./format.js";
import { layOut } from "./layout.js";
import { groupBy } from "./lists.js";
import { fit, widthOf } from "./text.js";

const WIDE = 206, INSET = 12, LINE = 16, PILL = 24, LABEL = 14, TIP = 7, MARGIN = 8;
const ROOM = WIDE - 2 * INSET; // for a text in a box
const MOST_CONSTANTS = 4, LONGEST_LABEL = 240;

// The nodes of one side of a picture.
//
// nodes: as the schema has them: operator, values read, values computed, attributes.
// labels: their names. values: what is known of each value. names: what each value is called.
// other: the nodes of the other side, which tell what is read later on.
export function drawNodes({ nodes, labels, values, names, other = [], className, framed = false }) {
  const producer = new Map();
  nodes.forEach(([, , makes], i) => makes.forEach((v) => producer.set(v, i)));
  const read = new Set(nodes.flatMap(([, reads]) => reads));
  const madeThere = new Set(other.flatMap(([, , makes]) => makes));
  const inputs = [...read].filter((v) => !producer.has(v) && !values[v][2]);
  const outputs = [...producer.keys()].filter((v) => !read.has(v) || madeThere.has(v));

  const boxes = nodes.map((node, i) => nodeBox(node, labels[i] ?? "", values, names, producer));
  const pill = (v) => ({ wide: WIDE, high: PILL, value: v });
  const entries = inputs.map(pill), exits = outputs.map(pill);
  const sources = new Map([...inputs.map((v, k) => [v, entries[k]]), ...[...producer].map(([v, i]) => [v, boxes[i]])]);
  const labelled = new Set();
  const wires = [];
  const connect = (v, to) => {
    const from = sources.get(v);
    if (!from || from === to) return;
    wires.push({ from, to, label: labelled.has(v) ? null : wireLabel(values[v][0]) });
    labelled.add(v);
  };
  nodes.forEach(([, reads], i) => new Set(reads).forEach((v) => connect(v, boxes[i])));
  outputs.forEach((v, k) => connect(v, exits[k]));

  const items = [...entries, ...boxes, ...exits];
  const { rank, frame } = layOut(items, wires, framed ? boxes : []);
  const ends = entryPoints(wires);
  const size = extent(items, wires, frame);
  return draw("svg", {
    class: className, viewBox: `${size.left} ${size.top} ${size.width} ${size.height}`, width: size.width, height: size.height,
    role: "img", "aria-label": nodes.map(([operator], i) => `${operator} ${labels[i] ?? ""}`).join(", "),
  },
  ...(frame ? [draw("rect", { class: "frame", ...rectangle(frame), rx: 12 })] : []),
  ...wires.map((wire) => drawWire(wire, ends.get(wire), rank)),
  ...wires.filter(({ label }) => label).map(({ label }) => draw("text", { class: "shape", x: label.x, y: label.y + 4 }, label.text)),
  ...boxes.map(drawBox),
  ...[...entries, ...exits].map((each) => drawPill(each, names[each.value] ?? "", values[each.value])));
}

// A pill with a line below it.
export function drawNote(text, note, className) {
  return draw("svg", { class: className, viewBox: "0 0 216 66", width: 216, height: 66, role: "img", "aria-label": `${text}, ${note}` },
    draw("rect", { class: "pill", x: 8, y: 8, width: 200, height: 26, rx: 13 }),
    draw("text", { x: 108, y: 25, "text-anchor": "middle" }, fit("pill", text, 184)),
    draw("text", { class: "small", x: 108, y: 54, "text-anchor": "middle" }, note));
}

// Nodes of which nothing but names is known: one below the other, without wires.
export function drawNames(operators, labels, className) {
  const most = 8, step = 52, list = labels.slice(0, most), more = labels.length - list.length;
  const height = 16 + Math.max(1, list.length + Math.sign(more)) * step;
  const note = (x, y, text, anchor) => draw("text", { class: "small", x, y, "text-anchor": anchor }, text);
  return draw("svg", { class: className, viewBox: `0 0 216 ${height}`, width: 216, height, role: "img", "aria-label": list.join(", ") || "nothing" },
    ...list.map((label, i) => draw("g", {},
      draw("rect", { class: "box", x: 8, y: 8 + i * step, width: 200, height: 42, rx: 7 }),
      draw("text", { class: "op", x: 20, y: 26 + i * step }, fit("op", operators ? operators[i] : label, 176)),
      draw("text", { class: "small", x: 20, y: 42 + i * step }, operators ? fit("small", label, 176) : ""),
      draw("title", {}, label))),
    ...(more ? [note(20, 30 + most * step, `and ${more} more`, "start")] : []),
    ...(list.length ? [] : [note(108, 34, "nothing", "middle")]));
}

function nodeBox([operator, reads, , attributes], label, values, names, producer) {
  const constants = [...new Set(reads)].filter((v) => values[v][2] && !producer.has(v));
  const lines = [["op", operator], ["small", label]].map(([kind, text]) => [kind, fit(kind, text, ROOM)]);
  constants.slice(0, MOST_CONSTANTS).forEach((v) => {
    const size = fit("small", shape(values[v][0]), ROOM * 0.6);
    const name = fit("small", names[v] ?? "constant", ROOM - widthOf("small", `  ${size}`));
    lines.push(["small", `${name}  ${size}`]);
  });
  const more = constants.length - MOST_CONSTANTS;
  if (more > 0) lines.push(["small", `and ${more} more constants`]);
  return { wide: WIDE, high: 14 + LINE * lines.length, lines, title: [operator, label, attributes].filter(Boolean).join("\n") };
}

function wireLabel(sizes) {
  const text = fit("shape", shape(sizes), LONGEST_LABEL);
  return { text, wide: widthOf("shape", text), high: LABEL };
}

const rectangle = ({ x, y, width, height }) => ({ x: x - width / 2, y: y - height / 2, width, height });

function drawBox(box) {
  const place = rectangle({ ...box, width: box.wide, height: box.high });
  return draw("g", {},
    draw("rect", { class: "box", ...place, rx: 7 }),
    ...box.lines.map(([kind, text], k) => draw("text", { class: kind, x: place.x + INSET, y: place.y + 20 + LINE * k }, text)),
    draw("title", {}, box.title));
}

function drawPill(pill, name, [sizes, type]) {
  return draw("g", {},
    draw("rect", { class: "pill", ...rectangle({ ...pill, width: pill.wide, height: pill.high }), rx: PILL / 2 }),
    draw("text", { x: pill.x, y: pill.y + 4, "text-anchor": "middle" }, fit("pill", name, ROOM)),
    draw("title", {}, `${name} ${shape(sizes)} ${type}`));
}

// Where each wire enters what it leads to: beside the others that do, in the order of where they come from.
function entryPoints(wires) {
  const ends = new Map();
  for (const [to, group] of groupBy(wires, (wire) => wire.to)) {
    const from = (wire) => (wire.points.at(-1) ?? wire.from).x;
    const apart = Math.min(44, (to.wide - 60) / group.length);
    group.sort((a, b) => from(a) - from(b));
    group.forEach((wire, k) => ends.set(wire, to.x + (k - (group.length - 1) / 2) * apart));
  }
  return ends;
}

// A wire is upright beside nodes and labels, and bends between them: so it never crosses one.
function drawWire({ from, to, points }, end, rank) {
  let { x } = from, y = from.y + rank(from.y) / 2;
  let d = `M${x} ${from.y + from.high / 2}V${y}`;
  const bendTo = (nextX, nextY) => {
    const bend = (nextY - y) / 2;
    d += nextX === x ? `V${nextY}` : `C${x} ${y + bend} ${nextX} ${nextY - bend} ${nextX} ${nextY}`;
  };
  for (const point of points) {
    const half = rank(point.y) / 2;
    bendTo(point.x, point.y - half);
    d += `V${point.y + half}`;
    x = point.x;
    y = point.y + half;
  }
  const top = to.y - to.high / 2;
  bendTo(end, to.y - rank(to.y) / 2 - TIP);
  d += `V${top - TIP}`;
  return draw("g", {}, draw("path", { class: "wire", d }), draw("path", { class: "tip", d: `M${end - 4} ${top - TIP}h8l-4 ${TIP}z` }));
}

function extent(items, wires, frame) {
  const labels = wires.flatMap(({ label }) => (label ? [label] : []));
  const xs = wires.flatMap(({ points }) => points.map(({ x }) => x));
  const framed = frame ? [{ x: frame.x, y: frame.y, wide: frame.width, high: frame.height }] : [];
  const all = [...items, ...framed];
  const left = Math.min(...xs, ...all.map(({ x, wide }) => x - wide / 2)) - MARGIN;
  const right = Math.max(...xs, ...all.map(({ x, wide }) => x + wide / 2), ...labels.map(({ x, wide }) => x + wide)) + MARGIN;
  const top = Math.min(...all.map(({ y, high }) => y - high / 2)) - MARGIN;
  const bottom = Math.max(...all.map(({ y, high }) => y + high / 2)) + MARGIN;
  return { left, top, width: right - left, height: bottom - top };
}
