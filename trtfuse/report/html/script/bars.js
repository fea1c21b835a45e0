// Tables of bars: something before and after.
import { make } from "./elements.js";

// rows: name, before, after. format: how a number is written.
export function bars(head, rows, format) {
  const most = Math.max(1, ...rows.flatMap(([, before, after]) => [before, after]));
  const bar = (className, n) => make("div", { className, style: `width:${(100 * n) / most}%` });
  const heading = (text, style) => make("th", { scope: "col", style }, text);
  const right = "text-align:right";
  return make("div", { className: "card tablebox" }, make("table", { className: "bars" },
    make("thead", {}, make("tr", {},
      heading(head), make("td", { className: "pair" }), heading("before", right), heading("after", right))),
    make("tbody", {}, ...rows.map(([name, before, after]) => make("tr", {},
      make("th", { scope: "row" }, name),
      make("td", { className: "pair", "aria-hidden": "true" }, bar("was", before), bar("is", after)),
      make("td", { className: "number" }, format(before)),
      make("td", { className: `number ${after < before ? "down" : after > before ? "up" : ""}` }, format(after)))))));
}
