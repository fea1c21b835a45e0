// Operators and estimated work, before and after.
import { bars } from "./bars.js";
import { data } from "./data.js";
import { byId, foldable, make, notice } from "./elements.js";
import { bytes, counted, number, operations } from "./format.js";

export function showOperators() {
  const body = byId("operators-body");
  const before = data.before.operators, after = data.after.operators;
  const names = [...new Set([...Object.keys(before), ...Object.keys(after)])];
  if (!names.length) {
    body.append(notice("The graph has no operators."));
    return;
  }
  const rows = names.map((name) => [name, before[name] ?? 0, after[name] ?? 0]);
  const difference = ([, was, is]) => Math.abs(was - is);
  const changed = rows.filter(difference).sort((a, b) => difference(b) - difference(a));
  const same = rows.filter((row) => !difference(row));
  if (changed.length) body.append(bars("operator", changed, number));
  if (same.length) {
    const many = counted(same.length, "operator");
    const title = changed.length ? `${many} with the same count` : `All ${many}, with the same counts`;
    const count = same.reduce((sum, [, was]) => sum + was, 0);
    body.append(foldable({ style: "margin-top:.7rem" },
      [make("b", {}, title), make("span"), make("span", { className: "count" }, number(count))],
      make("div"), (inside) => inside.append(bars("operator", same, number))));
  }
  if (data.cost.before && data.cost.after) showWork(body, data.cost.before, data.cost.after);
}

function showWork(body, before, after) {
  if (!before.operations && !before.bytes) return;
  const out = before.uncounted || after.uncounted
    ? ` Not counted, because a shape or the operator is unknown: ${counted(before.uncounted, "node")} before, ${number(after.uncounted)} after.` : "";
  body.append(
    make("h3", { className: "part" }, "Estimated work"),
    bars("", [["operations", before.operations, after.operations]], operations),
    bars("", [["bytes read and written", before.bytes, after.bytes]], bytes),
    make("p", { className: "fine" }, `Computed from shapes, as if every node ran by itself; symbols count as 1. This is not a measurement: TensorRT runs several nodes as one kernel.${out}`));
}
