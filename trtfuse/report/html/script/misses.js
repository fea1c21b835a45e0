// What was not fused, and why: near misses by rule and guard, to search and to filter.
import { data } from "./data.js";
import { byId, coded, facts, make, notice } from "./elements.js";
import { counted, number, part, times } from "./format.js";
import { fillList, largestFirst } from "./lists.js";
import { documentOf, equationOf } from "./rules.js";
import { searchField, wordsOf } from "./search.js";

const FIRST_MISSES = 5; // so many of a kind at first

const misses = data.declined;
const missTexts = misses.map(({ at, rule, guard, because }) => [at, rule, guard, because].join("\n").toLowerCase());
const missSearch = searchField("search", "node, tensor or words", listMisses);
const byRule = choice("by-rule", "rule");
const byGuard = choice("by-guard", "guard");
const missCount = make("p", { className: "fine", id: "count", role: "status" });
const missHost = make("div");

export function showNearMisses() {
  const body = byId("why-not-body");
  if (!misses.length) {
    body.append(notice(data.before.nodes
      ? "No near misses: every rule whose structure was found was applied."
      : "No rule could apply anywhere in this model."));
    return;
  }
  body.append(
    make("div", { className: "controls" },
      make("label", { className: "wide" }, "search", missSearch),
      make("label", {}, "rule", byRule),
      make("label", {}, "reason", byGuard)),
    missCount, missHost);
  listMisses();
}

// Shows one near miss, with others of its kind at its node.
export function goToMiss(index) {
  const { at, rule, guard } = misses[index];
  missSearch.value = at;
  byRule.value = rule;
  byGuard.value = guard;
  listMisses();
  missHost.querySelector(".miss")?.focus({ preventScroll: true });
  byId("why-not").scrollIntoView();
}

// The values of a key, the most frequent first, to choose from.
function choice(id, key) {
  const groups = largestFirst(misses, (miss) => miss[key]);
  return make("select", { id, onchange: listMisses },
    make("option", { value: "" }, `all (${number(misses.length)})`),
    ...groups.map((group) => make("option", { value: group[0][key] }, `${group[0][key]} (${number(group.length)})`)));
}

function listMisses() {
  const words = wordsOf(missSearch);
  const matching = misses.filter(({ rule, guard }, i) =>
    (!byRule.value || rule === byRule.value)
    && (!byGuard.value || guard === byGuard.value)
    && words.every((word) => missTexts[i].includes(word)));
  missCount.textContent = part(matching.length, misses.length, "near miss", "near misses");
  const kinds = largestFirst(matching, ({ rule, guard }) => `${rule}\n${guard}`)
    .sort((a, b) => rankOf(a) - rankOf(b) || savedBy(b) - savedBy(a));
  missHost.replaceChildren(...kinds.map((kind) => kindOfMiss(kind, words)));
  if (!matching.length) missHost.append(notice("Nothing matches."));
}

// What a user can change comes first, then what saves most; the most frequent first among equals.
const rankOf = ([{ guard }]) => data.guards[guard]?.rank ?? 1;
const savedBy = (kind) => kind.length * (data.rules[kind[0].rule]?.saves ?? 0);

// The near misses of one rule by one guard: what helps, then where.
function kindOfMiss(kind, words) {
  const { rule, guard } = kind[0];
  const about = data.guards[guard] ?? {}, saved = savedBy(kind);
  const list = make("ul", { className: "misses" }), end = make("div", { className: "end" });
  fillList(list, kind, ({ at, because }) => make("li", { className: "miss", tabindex: -1 },
    make("span", { className: "where" }, ...marked(at, words)),
    make("span", {}, ...marked(because, words))), end, FIRST_MISSES);
  return make("div", { className: "card kind" },
    make("div", { className: "about" },
      make("span", { className: "tag" }, rule),
      make("span", { className: "tag guard" }, guard),
      make("span", { className: "count" }, times(kind.length)),
      saved ? make("span", { className: "soft" }, `up to ${counted(saved, "node")} fewer`) : null),
    about.helps ? make("p", { className: `helps rank${rankOf(kind)}` }, make("b", {}, "What helps: "), ...coded(about.helps)) : null,
    make("details", {},
      make("summary", {}, "What the rule does and requires"),
      facts(["requires", about.holds], ["equation", equationOf(rule), "mono"], ["documented as", documentOf(rule)])),
    list, end);
}

// A text with the first of the words that is in it marked.
function marked(text, words) {
  const low = text.toLowerCase();
  // What changes its length in lower case cannot be marked by place.
  const word = low.length === text.length ? words.find((sought) => low.includes(sought)) : undefined;
  if (!word) return [text];
  const at = low.indexOf(word);
  return [text.slice(0, at), make("mark", {}, text.slice(at, at + word.length)), text.slice(at + word.length)];
}
