// What TensorRT made of the original and of the result.
import { bars } from "./bars.js";
import { data } from "./data.js";
import { byId, foldable, make } from "./elements.js";
import { bytes, number, seconds, shape } from "./format.js";
import { fillList } from "./lists.js";

export function showEngine() {
  const { a, b } = data.engine ?? {}, body = byId("engine-body");
  if (!a || !b || !body) return;
  const known = (name) => typeof a[name] === "number" && typeof b[name] === "number";
  const outcome = (name) => data.engine.verdict?.figures.find(({ figure }) => figure === name)?.outcome;
  const row = ([name, title]) => [title, a[name], b[name], outcome(name)];
  if (known("kernels")) body.append(bars("", [row(["kernels", "kernels"])], number));
  if (known("traffic")) body.append(bars("", [row(["traffic", "traffic"])], bytes));
  const sizes = [["weights", "weights"], ["activation", "activation memory"], ["size", "engine size"]].filter(([name]) => known(name));
  if (sizes.length) body.append(bars("", sizes.map(row), bytes));
  body.append(
    ...kernels("Kernels that vanished", data.engine.vanished),
    ...kernels("Kernels that appeared", data.engine.appeared),
    make("p", { className: "fine" }, sentences(a, b, known("seconds"))));
}

function kernels(title, list) {
  if (!list?.length) return [];
  const row = ({ name, type, nodes }) => make("li", { className: "mono" }, `${name} (${type}): ${nodes.join(", ")}`);
  return [foldable({ style: "margin-top:.7rem" },
    [make("b", {}, title), make("span"), make("span", { className: "count" }, number(list.length))],
    make("div", { className: "inside" }), (inside) => {
      const rows = make("ul", { className: "list" }), end = make("div", { className: "end" });
      inside.append(rows, end);
      fillList(rows, list, row, end);
    })];
}

function sentences(a, b, timed) {
  const { backend, shapes, notes } = data.engine;
  const fixed = Object.entries(shapes ?? {}).map(([name, sizes]) => `${name}: ${shape(sizes)}`).join(", ");
  return [
    backend ? `Built by ${backend}, not run.` : "Read from build logs.",
    fixed ? `Open sizes were fixed to ${fixed}.` : "",
    timed ? `The builds took ${seconds(a.seconds)} and ${seconds(b.seconds)}.` : "",
    ...(notes ?? []),
  ].filter(Boolean).join(" ");
}
