// The picture of a fusion: its nodes before and after.
import { data } from "./data.js";
import { drawNames, drawNodes, drawNote } from "./drawing.js";
import { make } from "./elements.js";
import { shape } from "./format.js";

// What `is` says of an entry; the others are fusions.
export const GROUP = 1;
const CLEANUP = 2;

const MOST_VALUES = 200; // dagre needs a second for so many, and nobody could read more

// What is drawn of an entry; null if that is not known, or too much.
export function pictureData(entry) {
  const known = data.pictures?.[entry.picture];
  const wired = known?.values.filter(([, , constant]) => !constant).length;
  return wired <= MOST_VALUES ? known : null;
}

export function pictureOf(entry) {
  const shown = pictureData(entry);
  if (entry.is === GROUP) return captioned("expected as one kernel", group(entry, shown));
  if (!shown && entry.nodes.join("\n") === entry.into.join("\n")) {
    return captioned("the same nodes, now with a different input", drawNames(entry.operators, entry.nodes, "after"));
  }
  return make("div", { className: "sides" },
    captioned("before", before(entry, shown)),
    make("div", { className: "becomes", "aria-hidden": "true" }, "→"),
    captioned("after", after(entry, shown)));
}

const captioned = (caption, svg) =>
  make("div", { className: "side" }, make("span", {}, caption), make("div", { className: "holder" }, svg));

// What drawNodes needs to know of the values.
const wiring = (entry, shown) => ({ values: shown.values, names: entry.wires ?? [] });

function group(entry, shown) {
  if (!shown) return drawNames(entry.operators, entry.nodes, "group");
  return drawNodes({ nodes: shown.before, labels: entry.nodes, ...wiring(entry, shown), className: "group", framed: true });
}

function before(entry, shown) {
  if (!shown) return drawNames(entry.operators, entry.nodes, "was");
  return drawNodes({ nodes: shown.before, labels: entry.nodes, ...wiring(entry, shown), other: shown.after, className: "was" });
}

function after(entry, shown) {
  if (!shown) return drawNames(null, entry.into, "after");
  const className = entry.is === CLEANUP ? "gone" : "after";
  if (!shown.after.length) return erased(entry, shown, className);
  const labels = [...(entry.kept ?? []), ...entry.into];
  return drawNodes({ nodes: shown.after, labels, ...wiring(entry, shown), other: shown.before, className });
}

// What is left where nodes were erased: what they read, or the constant they have become.
function erased(entry, { before: nodes, values }, className) {
  if (entry.rule === "unused") return drawNote("nothing", "its output is unused", className);
  const made = new Set(nodes.flatMap(([, , makes]) => makes));
  const read = nodes.flatMap(([, reads]) => reads).filter((v) => !made.has(v));
  const isConstant = (v) => values[v][2];
  const left = [...made].find(isConstant) ?? read.find((v) => !isConstant(v)) ?? read[0];
  if (left === undefined) return drawNote("nothing", "its output is unused", className);
  const note = `${isConstant(left) ? "a constant" : "as it is"}, ${shape(values[left][0])}`;
  return drawNote(entry.wires?.[left] ?? "", note, className);
}
