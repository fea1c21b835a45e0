// Tables of bars: something before and after.
import { make } from "./elements.js";

// rows: name, before, after, and whether that is better, worse or the same where it is not for the
// numbers to say. format: how a number is written.
export function bars(head, rows, format) {
  const most = Math.max(1, ...rows.flatMap(([, before, after]) => [before, after]));
  const bar = (className, n) => make("div", { className, style: `width:${(100 * n) / most}%` });
  const heading = (text, style) => make("th", { scope: "col", style }, text);
  const right = "text-align:right";
  return make("div", { className: "card tablebox" }, make("table", { className: "bars" },
    make("thead", {}, make("tr", {},
      heading(head), make("td", { className: "pair" }), heading("before", right), heading("after", right))),
    make("tbody", {}, ...rows.map(([name, before, after, outcome = byNumbers(before, after)]) => make("tr", {},
      make("th", { scope: "row" }, name),
      make("td", { className: "pair", "aria-hidden": "true" }, bar("was", before), bar(`is ${outcome}`, after)),
      make("td", { className: "number" }, format(before)),
      make("td", { className: `number ${outcome}` }, format(after)))))));
}

function byNumbers(before, after) {
  if (before === after) return "same";
  return after < before ? "better" : "worse";
}
