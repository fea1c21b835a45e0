// Lists: groups of what belongs together; some rows of a long one now, more when they are asked for.
import { make } from "./elements.js";
import { number } from "./format.js";

const STEP = 60; // so many rows at a time

// Fills `list` with a row for each item, at first `most` of them, and `end` with what shows more.
export function fillList(list, items, row, end, most = STEP) {
  let shown = 0;
  function more(count, focus) {
    const first = shown, rows = items.slice(first, first + count);
    list.append(...rows.map((item, k) => row(item, first + k)));
    shown += rows.length;
    end.replaceChildren();
    const left = items.length - shown;
    if (left) {
      end.append(
        make("button", { type: "button", className: "plain", onclick: () => more(STEP, true) }, `Show ${number(Math.min(STEP, left))} more`),
        make("span", { className: "soft" }, `${number(shown)} of ${number(items.length)}`),
      );
    }
    const entered = list.children[first];
    if (focus && entered) (entered.querySelector("button") ?? entered).focus();
  }
  list.replaceChildren();
  more(most, false);
}

// Groups by a key, in the order of their first items: `Map.groupBy`, which browsers of 2023 lack.
export function groupBy(items, key) {
  const groups = new Map();
  items.forEach((item) => {
    const of = key(item);
    if (!groups.has(of)) groups.set(of, []);
    groups.get(of).push(item);
  });
  return groups;
}

export function largestFirst(items, key) {
  return [...groupBy(items, key).values()].sort((a, b) => b.length - a.length);
}
