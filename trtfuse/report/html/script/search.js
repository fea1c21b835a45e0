// Fields to look for something.
import { make } from "./elements.js";

const PAUSE = 100; // milliseconds after which somebody has stopped typing

// A search field that calls `changed` when somebody has stopped typing.
export function searchField(id, placeholder, changed) {
  const field = make("input", { type: "search", id, placeholder, autocomplete: "off", spellcheck: "false" });
  let waiting = 0;
  field.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(changed, PAUSE); });
  return field;
}

export const wordsOf = (field) => field.value.toLowerCase().split(/\s+/).filter(Boolean);
