// What was fused: rules, the pictures of their fusions, and a search.
import { data } from "./data.js";
import { byId, facts, make, notice, say } from "./elements.js";
import { bytes, counted, number, operations, part, scientific, times } from "./format.js";
import { fillList, largestFirst } from "./lists.js";
import { GROUP, pictureData, pictureOf } from "./picture.js";
import { documentOf, equationOf } from "./rules.js";
import { searchField, wordsOf } from "./search.js";

const WORTH_A_SEARCH = 12; // so many fusions are
const FIRST_PICTURES = 3, MORE_PICTURES = 6;
const TITLES = ["", "Expected as one kernel", "Cleaned up"]; // by what `is` says of an entry

const fusionSearch = searchField("find", "node, tensor or rule", listFusions);
const fusionCount = make("p", { className: "fine", role: "status" });
const fusionHost = make("div");
// For each part of the list: what shows an entry in it, by its index in the report.
const showEntry = new Map();
const partOf = (entry) => `${entry.is} ${entry.rule}`;

export function showFusions() {
  const body = byId("fusions-body");
  if (!data.fused.length) {
    body.append(notice("No rule applied to this model. Near misses, if any, are listed below."));
    return;
  }
  if (data.fused.length > WORTH_A_SEARCH) {
    body.append(make("div", { className: "controls" }, make("label", { className: "wide" }, "find", fusionSearch)), fusionCount);
  }
  body.append(fusionHost);
  listFusions();
}

// Opens the picture of an entry, whatever was searched for.
export function goToFusion(index) {
  if (fusionSearch.value) {
    fusionSearch.value = "";
    listFusions();
  }
  showEntry.get(partOf(data.fused[index]))(index);
}

function listFusions() {
  const words = wordsOf(fusionSearch);
  const matches = (entry) => {
    const text = [entry.rule, ...entry.nodes, ...entry.into, ...(entry.wires ?? []), ...(entry.origin ?? [])].join("\n").toLowerCase();
    return words.every((word) => text.includes(word));
  };
  const places = data.fused.map((entry, index) => ({ entry, index })).filter(({ entry }) => !words.length || matches(entry));
  fusionCount.textContent = words.length ? part(places.length, data.fused.length, "entry", "entries") : "";
  showEntry.clear();
  const blocks = [];
  TITLES.forEach((title, kind) => {
    const ofKind = places.filter(({ entry }) => entry.is === kind);
    if (!ofKind.length) return;
    if (title) blocks.push(make("h3", { className: "part" }, `${title}: ${number(ofKind.length)}${kind === GROUP ? builtOf(ofKind) : ""}`));
    largestFirst(ofKind, ({ entry }) => entry.rule).forEach((ofRule, i) => {
      const open = i === 0 && !blocks.some((block) => block.tagName === "DETAILS") && (kind === 0 || words.length > 0);
      blocks.push(ruleBlock(ofRule, open));
    });
  });
  if (!places.length) blocks.push(notice("Nothing matches."));
  fusionHost.replaceChildren(...blocks);
}

// What the builder did with groups, where it was asked.
function builtOf(places) {
  const asked = places.filter(({ entry }) => entry.built);
  const so = asked.filter(({ entry }) => inOneKernel(entry.built)).length;
  return asked.length ? `; in the engine, ${so === asked.length ? "all" : number(so)} are` : "";
}

const inOneKernel = ({ outcome }) => outcome === "one kernel" || outcome === "merged further";

// The part of a rule: one picture for all places that look alike. It is filled when it is opened.
function ruleBlock(places, open) {
  const name = places[0].entry.rule, alike = largestFirst(places, ({ entry }) => likeness(entry));
  const scenes = [], host = make("div"), end = make("div", { className: "end" });
  const showScenes = (count) => {
    alike.slice(scenes.length, scenes.length + count).forEach((group) => {
      scenes.push(scene(group));
      host.append(scenes.at(-1).box);
    });
    const left = alike.length - scenes.length;
    end.replaceChildren(...(left ? [make("button", { type: "button", className: "plain", onclick: () => showScenes(MORE_PICTURES) },
      `Show ${Math.min(MORE_PICTURES, left)} more of ${number(left)} other pictures`)] : []));
  };
  const inside = make("div", { className: "inside" });
  const fill = () => {
    if (inside.firstChild) return;
    const text = data.rules[name]?.text;
    inside.append(...(text ? [make("p", { className: "fine" }, text)] : []), host, end);
    showScenes(FIRST_PICTURES);
  };
  const block = make("details", { className: "rule" },
    make("summary", {},
      make("span", {}, make("b", {}, name)),
      make("span", { className: "equation" }, equationOf(name) ?? ""),
      make("span", { className: "count" }, times(places.length))),
    inside);
  block.addEventListener("toggle", () => { if (block.open) fill(); });
  const openBlock = () => { fill(); block.open = true; };
  if (open) openBlock();
  showEntry.set(partOf(places[0].entry), (index) => {
    openBlock();
    const group = alike.findIndex((each) => each.some((place) => place.index === index));
    if (group >= scenes.length) showScenes(group - scenes.length + 1);
    scenes[group]?.show(index);
  });
  return block;
}

// Entries whose nodes are connected alike look alike, whatever the sizes.
const likenesses = new Map();
function likeness(entry) {
  const picture = pictureData(entry);
  if (!picture) return `${entry.operators.join()}:${entry.into.length}`;
  if (!likenesses.has(entry.picture)) {
    const connected = (nodes) => nodes.map(([operator, reads, makes]) => [operator, reads, makes]);
    likenesses.set(entry.picture, JSON.stringify([connected(picture.before), connected(picture.after)]));
  }
  return likenesses.get(entry.picture);
}

// A picture for several places, with the names of the one that is chosen.
function scene(places) {
  let current = 0;
  const title = make("h3"), panel = make("div", { hidden: "" });
  const button = make("button", { type: "button", className: "picture", "aria-expanded": "false" });
  const list = make("ul", { className: "list" }), end = make("div", { className: "end" });
  const hint = () => `${panel.hidden ? "Show" : "Hide"} the equation${places[current].entry.is === GROUP ? "" : " and the check"}`;
  const choose = (k, tell) => {
    current = k;
    const { entry } = places[k];
    title.replaceChildren(make("span", { className: "mono" }, titleOf(entry)), ...outcomeOf(entry));
    button.replaceChildren(pictureOf(entry), make("span", { className: "hint" }, hint()));
    panel.replaceChildren(factsOf(entry));
    list.querySelectorAll("button").forEach((each, i) => each.setAttribute("aria-current", String(i === k)));
    if (tell) say(`Shown: ${titleOf(entry)}`);
  };
  button.addEventListener("click", () => {
    panel.hidden = !panel.hidden;
    button.setAttribute("aria-expanded", String(!panel.hidden));
    button.querySelector(".hint").textContent = hint();
  });
  const box = make("div", { className: "scene" }, title, button, panel);
  if (places.length > 1) {
    box.append(make("p", { className: "fine" }, `${counted(places.length, "place")} look like this:`), list, end);
    fillList(list, places, ({ entry }, k) => make("li", {},
      make("button", { type: "button", "aria-current": String(k === current), onclick: () => choose(k, true) }, titleOf(entry))), end);
  }
  choose(0, false);
  const show = (index) => {
    choose(places.findIndex((place) => place.index === index), true);
    button.focus({ preventScroll: true });
    box.scrollIntoView({ block: "center" });
  };
  return { box, show };
}

// What the builder made of an entry, beside its name.
function outcomeOf({ built }) {
  if (!built) return [];
  return [" ", make("span", { className: `tag ${inOneKernel(built) ? "" : "guard"}` }, `TensorRT: ${built.outcome}`)];
}

// The name of an entry, or its first and last node where that would be a whole line of names.
function titleOf(entry) {
  const joined = entry.nodes.join(" + "), name = entry.name ?? joined, most = 4;
  if (name !== joined || entry.nodes.length <= most) return name;
  return `${entry.nodes[0]} … ${entry.nodes.at(-1)} (${counted(entry.nodes.length, "node")})`;
}

function factsOf(entry) {
  const { rule, saved, origin, note, built } = entry, isGroup = entry.is === GROUP;
  const fromOthers = origin && origin.join() !== entry.nodes.join();
  return facts(
    ["equation", equationOf(rule), "mono"],
    ["check", !isGroup && checkOf(entry)],
    ["estimated saving", saved && `${operations(saved.operations)} operations and ${bytes(saved.bytes)} read and written`],
    ["made from", fromOthers && origin.join(", ") + (entry.complete === false ? ", and more" : ""), "mono"],
    ["TensorRT", built && [built.outcome, built.kernels.join(", ")].filter(Boolean).join(": "), "mono"],
    ["became", !isGroup && becameOf(entry), "mono"],
    ["note", note],
    ["documented as", documentOf(rule)]);
}

function checkOf({ check, error }) {
  if (!check) return typeof error === "number" ? `largest error ${scientific(error)}` : "not evaluated: it only moves or merges nodes, or the check was off";
  const sets = check.inputs ? `${counted(check.inputs, "set")} of random inputs in float64, ` : "";
  const shared = check.shared ? ", on the weights of other places with the same structure" : "";
  return `${sets}largest error ${scientific(check.error)}, tolerance ${scientific(check.tolerance, 0)}${shared}`;
}

function becameOf({ into, kept }) {
  if (into.length) return into.join(", ");
  return kept?.length ? `${kept.join(", ")}, unchanged` : "nothing: it was removed";
}
