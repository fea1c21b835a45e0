"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const STEP = 60; // so many rows of a list at a time
  const SVG = "http://www.w3.org/2000/svg";
  const byId = (id) => document.getElementById(id);
  const say = (text) => { byId("said").textContent = text; };
  const number = (n) => n.toLocaleString("en-US");
  const many = (n, thing) => `${number(n)} ${thing}${n === 1 ? "" : "s"}`;

  // Everything is text: nothing of a model is ever parsed as HTML.
  function make(tag, given = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(given)) {
      if (value === null || value === undefined || value === false) continue;
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else element.setAttribute(name === "className" ? "class" : name, value);
    }
    element.append(...children.filter((child) => child !== null && child !== undefined));
    return element;
  }
  function draw(tag, given = {}, ...children) {
    const element = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(given)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }
  // A name shortened in its middle, since names of layers differ at their ends.
  function short(text, most) {
    const signs = [...text];
    if (signs.length <= most) return text;
    const end = Math.ceil((most - 1) * 0.65);
    return `${signs.slice(0, most - 1 - end).join("")}…${signs.slice(-end).join("")}`;
  }
  const bytes = (n) => {
    const units = ["B", "kB", "MB", "GB", "TB"];
    let size = Math.abs(n), unit = 0;
    while (size >= 1000 && unit < units.length - 1) { size /= 1000; unit += 1; }
    return `${n < 0 ? "−" : ""}${unit ? size.toPrecision(3) : size} ${units[unit]}`;
  };
  const amount = (n) => {
    const units = ["", " k", " M", " G", " T"];
    let size = Math.abs(n), unit = 0;
    while (size >= 1000 && unit < units.length - 1) { size /= 1000; unit += 1; }
    return `${n < 0 ? "−" : ""}${unit ? size.toPrecision(3) : size}${units[unit]}`;
  };
  const shape = (sizes) => (sizes === null ? "?" : sizes.length ? sizes.join("×") : "scalar");

  // Long lists: some rows now, more when they are asked for.
  function grow(list, items, row, end, most = STEP) {
    let shown = 0;
    function more(move) {
      const first = shown, last = first + (first ? STEP : most);
      const part = document.createDocumentFragment();
      for (; shown < items.length && shown < last; shown += 1) part.append(row(items[shown], shown));
      list.append(part);
      end.replaceChildren();
      if (shown < items.length) {
        end.append(
          make("button", { type: "button", className: "plain", onclick: () => more(true) }, `Show ${number(Math.min(STEP, items.length - shown))} more`),
          make("span", { className: "soft" }, `${number(shown)} of ${number(items.length)}`),
        );
      }
      if (move && list.children[first]) {
        (list.children[first].querySelector("button") ?? list.children[first]).focus();
      }
    }
    list.replaceChildren();
    more(false);
  }

  // Pictures -------------------------------------------------------------------------------------

  const WIDE = 206, LANE = 20, GAP = 20, RISE = 46, PILL = 24;

  // Every node one layer below the lowest of those that it reads from.
  function depths(nodes, producer) {
    const depth = new Array(nodes.length).fill(1);
    for (let pass = 0; pass < nodes.length; pass += 1) {
      let moved = false;
      nodes.forEach((node, i) => node[1].forEach((v) => {
        const from = producer.get(v);
        if (from !== undefined && from !== i && depth[i] <= depth[from]) { depth[i] = depth[from] + 1; moved = true; }
      }));
      if (!moved) break;
    }
    return depth;
  }
  // Sideways places: in the order of what items are connected to, none on top of another.
  function arrange(layers) {
    const middle = (items) => items.reduce((sum, each) => sum + each.x, 0) / items.length;
    const settle = (layer, side) => {
      layer.forEach((item) => { item.want = item[side].length ? middle(item[side]) : item.x; });
      layer.forEach((item, k) => {
        const left = layer[k - 1];
        item.x = left ? Math.max(item.want, left.x + (left.wide + item.wide) / 2 + GAP) : item.want;
      });
      const shift = layer.reduce((sum, item) => sum + item.want - item.x, 0) / layer.length;
      layer.forEach((item) => { item.x += shift; });
    };
    layers.forEach((layer) => {
      let x = 0;
      layer.forEach((item) => { item.x = x + item.wide / 2; x += item.wide + GAP; });
      layer.forEach((item) => { item.x -= (x - GAP) / 2; });
    });
    for (let sweep = 0; sweep < 4; sweep += 1) {
      const down = sweep % 2 === 0, side = down ? "up" : "down";
      for (const layer of down ? layers : [...layers].reverse()) {
        layer.forEach((item) => { item.weight = item[side].length ? middle(item[side]) : item.x; });
        layer.sort((p, q) => p.weight - q.weight || p.wide - q.wide);
        settle(layer, side);
      }
    }
  }

  // One side of a picture: inputs above, nodes in layers, outputs below. A wire that passes a layer
  // has a lane of its own there.
  function side(nodes, labels, values, names, other, className, frame) {
    const producer = new Map();
    nodes.forEach((node, i) => node[2].forEach((v) => producer.set(v, i)));
    const read = new Set(nodes.flatMap((node) => node[1]));
    const elsewhere = new Set(other.flatMap((node) => node[2]));
    const inputs = [...read].filter((v) => !producer.has(v) && !values[v][2]);
    const outputs = [...producer.keys()].filter((v) => !read.has(v) || elsewhere.has(v));
    const depth = depths(nodes, producer), last = Math.max(...depth) + 1;
    const layers = Array.from({ length: last + 1 }, () => []);
    const put = (level, item) => { layers[level].push(Object.assign(item, { level, up: [], down: [] })); return item; };
    const boxes = nodes.map((node, i) => {
      const constants = [...new Set(node[1])].filter((v) => values[v][2] && !producer.has(v));
      const text = [["op", node[0]], ["small", short(labels[i] ?? "", 28)]];
      constants.slice(0, 4).forEach((v) => {
        const size = shape(values[v][0]);
        text.push(["small", `${short(names[v] ?? "constant", Math.max(8, 26 - size.length))}  ${short(size, 18)}`]);
      });
      if (constants.length > 4) text.push(["small", `and ${constants.length - 4} constants more`]);
      return put(depth[i], { wide: WIDE, high: 14 + 16 * text.length, text, node, label: labels[i] ?? "" });
    });
    const sources = new Map([...producer].map(([v, i]) => [v, boxes[i]]));
    inputs.forEach((v) => sources.set(v, put(0, { wide: WIDE, high: PILL, pill: v })));
    const ends = outputs.map((v) => put(last, { wide: WIDE, high: PILL, pill: v }));
    // Wires: from layer to layer, the lanes of one value shared by all that read it.
    const lanes = new Map(), wires = [], links = new Set();
    const link = (from, to) => {
      if (from.down.includes(to)) return;
      from.down.push(to);
      to.up.push(from);
    };
    function connect(v, target) {
      const source = sources.get(v);
      if (!source || source === target) return;
      const way = [source];
      for (let level = source.level + 1; level < target.level; level += 1) {
        const key = `${v}:${level}`;
        if (!lanes.has(key)) lanes.set(key, put(level, { wide: LANE, high: 0, lane: true }));
        way.push(lanes.get(key));
      }
      way.push(target);
      way.slice(1).forEach((item, k) => link(way[k], item));
      wires.push({ v, way });
    }
    nodes.forEach((node, i) => new Set(node[1]).forEach((v) => connect(v, boxes[i])));
    outputs.forEach((v, k) => connect(v, ends[k]));
    const full = layers.filter((layer) => layer.length);
    arrange(full);
    const all = full.flat();
    const left = Math.min(...all.map((item) => item.x - item.wide / 2)) - (frame ? 20 : 8);
    const right = Math.max(...all.map((item) => item.x + item.wide / 2), ...all.filter((item) => !item.lane).map((item) => item.x + 96)) + (frame ? 20 : 8);
    const width = right - left;
    let y = 8;
    full.forEach((layer) => {
      const high = Math.max(PILL, ...layer.map((item) => item.high));
      layer.forEach((item) => {
        item.x -= left;
        item.top = item.lane ? y : y + (item.pill === undefined ? 0 : (high - item.high) / 2);
        item.bottom = item.lane ? y + high : item.top + item.high;
      });
      y += high + RISE;
    });
    const height = y - RISE + 8;
    const lines = draw("g"), marks = draw("g"), texts = draw("g");
    // Where several wires enter a box, they enter beside each other.
    const entries = new Map();
    wires.forEach((wire) => {
      const target = wire.way.at(-1);
      if (!entries.has(target)) entries.set(target, []);
      entries.get(target).push(wire);
    });
    for (const [target, list] of entries) {
      list.sort((p, q) => p.way.at(-2).x - q.way.at(-2).x);
      list.forEach((wire, k) => { wire.end = target.x + (k - (list.length - 1) / 2) * Math.min(44, (WIDE - 60) / list.length); });
    }
    wires.forEach(({ v, way, end }) => {
      let d = `M${way[0].x} ${way[0].bottom}`, x = way[0].x, at = way[0].bottom;
      way.slice(1).forEach((item, k) => {
        const final = k === way.length - 2, to = final ? end : item.x, top = final ? item.top - 5 : item.top;
        const bend = Math.max(10, (top - at) / 2);
        d += x === to ? `V${top}` : `C${x} ${at + bend} ${to} ${top - bend} ${to} ${top}`;
        if (!final) d += `V${item.bottom}`;
        x = to;
        at = item.bottom;
      });
      const target = way.at(-1);
      lines.append(draw("path", { class: "wire", d }), draw("path", { class: "tip", d: `M${end - 4} ${target.top - 7}h8l-4 7z` }));
      if (!links.has(v)) {
        links.add(v);
        texts.append(draw("text", { class: "shape", x: way[0].x + 7, y: way[0].bottom + (frame ? 24 : 17) }, shape(values[v][0])));
      }
    });
    all.forEach((item) => {
      if (item.lane) return;
      const x = item.x - WIDE / 2;
      if (item.pill !== undefined) {
        const name = names[item.pill] ?? "";
        marks.append(draw("g", {},
          draw("rect", { class: "pill", x, y: item.top, width: WIDE, height: PILL, rx: PILL / 2 }),
          draw("text", { x: item.x, y: item.top + 16, "text-anchor": "middle" }, short(name, 27)),
          draw("title", {}, `${name} ${shape(values[item.pill][0])} ${values[item.pill][1]}`)));
        return;
      }
      const box = draw("g", {}, draw("rect", { class: "box", x, y: item.top, width: WIDE, height: item.high, rx: 7 }));
      item.text.forEach(([kind, text], k) => box.append(
        draw("text", { class: kind, x: x + 12, y: item.top + 20 + 16 * k }, short(text, kind === "op" ? 24 : 29))));
      box.append(draw("title", {}, [item.node[0], item.label, item.node[3] ?? ""].filter(Boolean).join("\n")));
      marks.append(box);
    });
    const parts = [lines, texts, marks];
    if (frame) {
      const top = Math.min(...boxes.map((box) => box.top)) - 11, bottom = Math.max(...boxes.map((box) => box.bottom)) + 11;
      parts.unshift(draw("rect", { class: "frame", x: 6, y: top, width: width - 12, height: bottom - top, rx: 12 }));
    }
    return draw("svg", { class: className, viewBox: `0 0 ${width} ${height}`, width, height, role: "img",
      "aria-label": labels.map((label, i) => `${nodes[i]?.[0] ?? ""} ${label}`).join(", ") }, ...parts);
  }

  // What is left where nodes were erased: what they read, or the constant they have become.
  function nothing(values, names, other, className, unused) {
    const made = new Set(other.flatMap((node) => node[2]));
    const read = [...new Set(other.flatMap((node) => node[1]))].filter((v) => !made.has(v));
    const folded = [...made].filter((v) => values[v][2]);
    const through = read.filter((v) => !values[v][2]);
    const v = unused ? undefined : folded[0] ?? through[0] ?? read[0];
    const text = v === undefined ? "nothing" : names[v] ?? "";
    const note = v === undefined ? "nothing reads it" : values[v][2] ? "a constant" : "as it is";
    return draw("svg", { class: className, viewBox: "0 0 216 66", width: 216, height: 66, role: "img", "aria-label": `${text}, ${note}` },
      draw("rect", { class: "pill", x: 8, y: 8, width: 200, height: 26, rx: 13 }),
      draw("text", { x: 108, y: 25, "text-anchor": "middle" }, short(text, 26)),
      draw("text", { class: "small", x: 108, y: 54, "text-anchor": "middle" }, v === undefined ? note : `${note}, ${shape(values[v][0])}`));
  }

  function sides(entry) {
    const picture = entry.picture === undefined || entry.picture === null ? null : data.pictures?.[entry.picture];
    const before = make("div", { className: "side" }, make("span", {}, "before"));
    const after = make("div", { className: "side" }, make("span", {}, "after"));
    const holder = (svg) => make("div", { className: "holder" }, svg);
    if (entry.is === 1) {
      const svg = picture ? side(picture.before, entry.nodes, picture.values, entry.wires ?? [], [], "group", true) : row(entry.operators, entry.nodes, "group");
      return make("div", { className: "side" }, make("span", {}, "one kernel"), holder(svg));
    }
    if (picture) {
      const names = entry.wires ?? [];
      before.append(holder(side(picture.before, entry.nodes, picture.values, names, picture.after, "was")));
      const style = entry.is === 2 ? "gone" : "after";
      after.append(holder(picture.after.length
        ? side(picture.after, [...(entry.kept ?? []), ...entry.into], picture.values, names, picture.before, style)
        : nothing(picture.values, names, picture.before, style, entry.rule === "unused")));
    } else if (entry.nodes.join("\n") === entry.into.join("\n")) {
      return make("div", { className: "side" }, make("span", {}, "the same nodes, which now read what stood there before"),
        make("div", { className: "holder" }, row(entry.operators, entry.nodes, "after")));
    } else {
      before.append(holder(row(entry.operators, entry.nodes, "was")));
      after.append(holder(row(null, entry.into, "after")));
    }
    return make("div", { className: "sides" }, before, make("div", { className: "becomes", "aria-hidden": "true" }, "→"), after);
  }

  // Without a picture only the nodes are known, and not what they read.
  function row(operators, labels, className) {
    const most = 8, list = labels.slice(0, most);
    const height = 16 + Math.max(1, list.length + (labels.length > most)) * 52;
    const svg = draw("svg", { class: className, viewBox: `0 0 216 ${height}`, width: 216, height, role: "img", "aria-label": labels.slice(0, most).join(", ") || "nothing" });
    list.forEach((label, i) => svg.append(
      draw("g", {},
        draw("rect", { class: "box", x: 8, y: 8 + i * 52, width: 200, height: 42, rx: 7 }),
        draw("text", { class: "op", x: 20, y: 26 + i * 52 }, short(operators ? operators[i] : label, 24)),
        draw("text", { class: "small", x: 20, y: 42 + i * 52 }, short(operators ? label : "", 28)),
        draw("title", {}, label))));
    if (labels.length > most) svg.append(draw("text", { class: "small", x: 20, y: 30 + most * 52 }, `and ${labels.length - most} more`));
    if (!labels.length) svg.append(draw("text", { class: "small", x: 108, y: 34, "text-anchor": "middle" }, "nothing"));
    return svg;
  }

  function checked(check, error) {
    if (!check) return error === null || error === undefined ? "not evaluated: it only moves or merges nodes, or checks were off" : `largest error ${error.toExponential(1)}`;
    const sets = check.inputs ? `${many(check.inputs, "set")} of drawn inputs in float64, ` : "";
    const shared = check.shared ? ", on the weights of others of the same structure" : "";
    return `${sets}largest error ${check.error.toExponential(1)}, tolerance ${check.tolerance.toExponential(0)}${shared}`;
  }

  function facts(entry) {
    const rule = data.rules[entry.rule] ?? {};
    const list = make("dl", { className: "facts" });
    const fact = (name, ...content) => { if (content.some(Boolean)) list.append(make("dt", {}, name), make("dd", {}, ...content)); };
    fact("equation", rule.equation ? make("span", { className: "mono" }, rule.equation) : null);
    if (entry.is !== 1) fact("check", checked(entry.check, entry.error));
    if (entry.saved) fact("saves, by estimate", `${amount(entry.saved.operations)} operations and ${bytes(entry.saved.bytes)} read and written`);
    if (entry.origin && entry.origin.join() !== entry.nodes.join()) {
      fact("made from", make("span", { className: "mono" }, entry.origin.join(", ") + (entry.complete === false ? ", and more" : "")));
    }
    if (entry.is !== 1) fact("became", make("span", { className: "mono" }, entry.into.length ? entry.into.join(", ") : entry.kept?.length ? `${entry.kept.join(", ")}, as it was` : "nothing: it was erased"));
    if (entry.note) fact("note", entry.note);
    const document_ = rule.document ? `${rule.entry}, ${rule.document}` : rule.entry;
    fact("documented as", document_);
    return list;
  }

  // What was fused -------------------------------------------------------------------------------

  const opened = new Map(); // by rule: what opens its part of the page at an entry
  // The name of an entry, or its first and last node where that would be a whole line of names.
  function called(entry) {
    const joined = entry.nodes.join(" + "), name = entry.name ?? joined, most = 4;
    if (name !== joined || entry.nodes.length <= most) return name;
    return `${entry.nodes[0]} … ${entry.nodes.at(-1)} (${entry.nodes.length} nodes)`;
  }
  function scene(entries) {
    // Entries of one picture: drawn once, with the names of the one that is chosen.
    let current = 0;
    const hint = () => `${panel.hidden ? "Show" : "Hide"} the equation${entries[current][1].is === 1 ? "" : " and the check"}`;
    const panel = make("div", { hidden: "" });
    const button = make("button", { type: "button", className: "picture", "aria-expanded": "false" });
    const title = make("h3");
    const list = make("ul", { className: "list" });
    const end = make("div", { className: "end" });
    function show(k, tell) {
      current = k;
      const entry = entries[k][1];
      title.replaceChildren(make("span", { className: "mono" }, called(entry)));
      button.replaceChildren(sides(entry), make("span", { className: "hint" }, hint()));
      panel.replaceChildren(facts(entry));
      list.querySelectorAll("button").forEach((each, i) => each.setAttribute("aria-current", String(i === k)));
      if (tell) say(`Shown: ${called(entry)}`);
    }
    button.addEventListener("click", () => {
      panel.hidden = !panel.hidden;
      button.setAttribute("aria-expanded", String(!panel.hidden));
      button.querySelector(".hint").textContent = hint();
    });
    const row_ = ([, entry], k) => make("li", {}, make("button", { type: "button", "aria-current": String(k === current), onclick: () => show(k, true) }, called(entry)));
    const box = make("div", { className: "scene" }, title, button, panel);
    if (entries.length > 1) {
      box.append(make("p", { className: "fine" }, `${many(entries.length, "place")} that look like this:`), list, end);
      grow(list, entries, row_, end);
    }
    show(0, false);
    return { box, open: (at) => {
      const k = entries.findIndex(([i]) => i === at);
      if (k < 0) return false;
      show(k, true);
      button.focus({ preventScroll: true });
      box.scrollIntoView({ block: "center" });
      return true;
    } };
  }

  // Entries whose nodes are connected alike look alike, whatever the sizes.
  const likenesses = new Map();
  function likeness(entry) {
    const picture = data.pictures?.[entry.picture];
    if (!picture) return `${entry.operators.join()}:${entry.into.length}`;
    if (!likenesses.has(entry.picture)) {
      const wiring = (nodes) => nodes.map(([op, reads, makes]) => [op, reads, makes]);
      likenesses.set(entry.picture, JSON.stringify([wiring(picture.before), wiring(picture.after)]));
    }
    return likenesses.get(entry.picture);
  }

  function ruleBlock(name, entries, open) {
    const rule = data.rules[name] ?? {};
    const inside = make("div", { className: "inside" });
    const block = make("details", { className: "rule" },
      make("summary", {},
        make("span", {}, make("b", {}, name)),
        make("span", { className: "equation" }, rule.equation ?? ""),
        make("span", { className: "count" }, `${number(entries.length)}×`)),
      inside);
    const scenes = [];
    let filled = false;
    function fill() {
      if (filled) return;
      filled = true;
      const text = [rule.text].filter(Boolean).join(" ");
      if (text) inside.append(make("p", { className: "fine" }, text));
      const alike = new Map();
      entries.forEach((each) => {
        const key = likeness(each[1]);
        if (!alike.has(key)) alike.set(key, []);
        alike.get(key).push(each);
      });
      const groups = [...alike.values()].sort((a, b) => b.length - a.length);
      const host = make("div"), end = make("div", { className: "end" });
      inside.append(host, end);
      let shown = 0;
      const some = (most) => {
        for (const last = shown + most; shown < groups.length && shown < last; shown += 1) {
          const made = scene(groups[shown]);
          scenes.push(made);
          host.append(made.box);
        }
        end.replaceChildren();
        if (shown < groups.length) end.append(
          make("button", { type: "button", className: "plain", onclick: () => some(6) }, `Show ${Math.min(6, groups.length - shown)} more of ${number(groups.length - shown)} other pictures`));
      };
      some(3);
      opened.set(name, (at) => {
        const found = groups.findIndex((group) => group.some(([i]) => i === at));
        if (found >= shown) some(found - shown + 1);
        scenes[found]?.open(at);
      });
    }
    block.addEventListener("toggle", () => { if (block.open) fill(); });
    if (open) { fill(); block.open = true; }
    return { block, fill };
  }

  const blocks = new Map();
  const SEARCHED = 12; // so many fusions are worth a search
  const look = make("input", { type: "search", id: "find", placeholder: "node, tensor or rule", autocomplete: "off", spellcheck: "false" });
  const found_ = make("p", { className: "fine", role: "status" });
  const fusionHost = make("div");
  const TITLES = ["", "Grouped, each for one kernel", "Cleaned up"];
  function fusions() {
    const body = byId("fusions-body");
    if (!data.fused.length) {
      body.append(make("div", { className: "card empty" }, "No rule applied to this model. Below is what came near, if anything did."));
      return;
    }
    if (data.fused.length > SEARCHED) {
      body.append(make("div", { className: "controls" }, make("label", { className: "wide" }, "find", look)), found_);
      let waiting = 0;
      look.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(listFusions, 120); });
    }
    body.append(fusionHost);
    listFusions();
  }
  function listFusions() {
    const words = look.value.toLowerCase().split(/\s+/).filter(Boolean);
    const kinds = [[], [], []];
    let count = 0;
    data.fused.forEach((entry, i) => {
      if (words.length) {
        const text = [entry.rule, ...entry.nodes, ...entry.into, ...(entry.wires ?? []), ...(entry.origin ?? [])].join("\n").toLowerCase();
        if (!words.every((word) => text.includes(word))) return;
      }
      kinds[entry.is].push([i, entry]);
      count += 1;
    });
    found_.textContent = words.length ? `${number(count)} of ${many(data.fused.length, "entry").replace("entrys", "entries")}` : "";
    blocks.clear();
    opened.clear();
    const parts = [];
    let first = true;
    kinds.forEach((entries, kind) => {
      if (!entries.length) return;
      if (TITLES[kind]) parts.push(make("h3", { className: "part" }, `${TITLES[kind]}: ${number(entries.length)}`));
      const rules = new Map();
      entries.forEach((each) => {
        if (!rules.has(each[1].rule)) rules.set(each[1].rule, []);
        rules.get(each[1].rule).push(each);
      });
      for (const [name, list] of [...rules].sort((a, b) => b[1].length - a[1].length)) {
        const made = ruleBlock(name, list, first && (kind === 0 || words.length > 0));
        first = false;
        blocks.set(name, made);
        parts.push(made.block);
      }
    });
    if (!count) parts.push(make("div", { className: "card empty" }, "Nothing matches."));
    fusionHost.replaceChildren(...parts);
  }
  function goToFusion(index) {
    if (look.value) { look.value = ""; listFusions(); }
    const entry = data.fused[index];
    const found = blocks.get(entry.rule);
    found.fill();
    found.block.open = true;
    opened.get(entry.rule)(index);
  }

  // Why not --------------------------------------------------------------------------------------

  let seek = () => {};
  function misses() {
    const body = byId("why-not-body");
    const all = data.declined;
    if (!all.length) {
      body.append(make("div", { className: "card empty" }, data.before.nodes
        ? "No rule stopped short: wherever the structure of a rule was there, it was applied."
        : "There is nothing here that a rule could apply to."));
      return;
    }
    const tally = (key) => {
      const found = new Map();
      all.forEach((miss) => found.set(miss[key], (found.get(miss[key]) ?? 0) + 1));
      return [...found].sort((a, b) => b[1] - a[1]);
    };
    const choice = (id, label, key) => make("label", {}, label, make("select", { id },
      make("option", { value: "" }, `all (${number(all.length)})`),
      ...tally(key).map(([name, n]) => make("option", { value: name }, `${name} (${number(n)})`))));
    const search = make("input", { type: "search", id: "search", placeholder: "node, tensor or words", autocomplete: "off", spellcheck: "false" });
    const rule = choice("by-rule", "rule", "rule"), guard = choice("by-guard", "reason", "guard");
    const count = make("p", { className: "fine", id: "count", role: "status" });
    const host = make("div");
    body.append(make("div", { className: "controls" }, make("label", { className: "wide" }, "search", search), rule, guard), count, host);
    const texts = all.map((miss) => `${miss.at}\n${miss.rule}\n${miss.guard}\n${miss.because}`.toLowerCase());

    function marked(text, words) {
      const low = text.toLowerCase();
      // What changes its length in lower case cannot be marked by place.
      const word = low.length === text.length ? words.find((each) => low.includes(each)) : undefined;
      if (!word) return [text];
      const at = low.indexOf(word);
      return [text.slice(0, at), make("mark", {}, text.slice(at, at + word.length)), text.slice(at + word.length)];
    }
    // The near misses of one rule by one guard: what helps, then where.
    function kind(found, words) {
      const { rule: name, guard: stopped } = all[found[0]];
      const what = data.guards[stopped] ?? {}, known = data.rules[name] ?? {};
      const list = make("ul", { className: "misses" }), end = make("div", { className: "end" });
      const explained = make("dl", { className: "facts" });
      const fact = (title, text, className) => { if (text) explained.append(make("dt", {}, title), make("dd", { className: className ?? "" }, text)); };
      fact("what helps", what.helps);
      fact("equation", known.equation, "mono");
      fact("documented as", known.document ? `${known.entry}, ${known.document}` : known.entry);
      const card = make("div", { className: "card kind" },
        make("details", {},
          make("summary", {}, make("span", { className: "tag" }, name), make("span", { className: "tag guard" }, stopped), make("span", { className: "helps" }, what.holds ?? ""), make("span", { className: "count" }, `${number(found.length)}×`)),
          explained),
        list, end);
      grow(list, found, (index) => make("li", { className: "miss", tabindex: -1 },
        make("span", { className: "where" }, ...marked(all[index].at, words)),
        make("span", {}, ...marked(all[index].because, words))), end, 5);
      return card;
    }
    function filter() {
      const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
      const r = rule.querySelector("select").value, g = guard.querySelector("select").value;
      const kinds = new Map();
      let found = 0;
      texts.forEach((text, i) => {
        if ((r && all[i].rule !== r) || (g && all[i].guard !== g) || !words.every((word) => text.includes(word))) return;
        const key = `${all[i].rule}\n${all[i].guard}`;
        if (!kinds.has(key)) kinds.set(key, []);
        kinds.get(key).push(i);
        found += 1;
      });
      const misses_ = `${number(all.length)} near miss${all.length === 1 ? "" : "es"}`;
      count.textContent = found === all.length ? misses_ : `${number(found)} of ${misses_}`;
      host.replaceChildren(...[...kinds.values()].sort((a, b) => b.length - a.length).map((each) => kind(each, words)));
      if (!found) host.append(make("div", { className: "card empty" }, "Nothing matches."));
    }
    let waiting = 0;
    search.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(filter, 80); });
    rule.addEventListener("change", filter);
    guard.addEventListener("change", filter);
    seek = (index) => {
      search.value = all[index].at;
      rule.querySelector("select").value = all[index].rule;
      guard.querySelector("select").value = all[index].guard;
      filter();
      const first = host.querySelector(".miss");
      if (first) first.focus({ preventScroll: true });
      byId("why-not").scrollIntoView();
    };
    filter();
  }

  // Operators ------------------------------------------------------------------------------------

  function bars(rows, head, format) {
    const most = Math.max(1, ...rows.flatMap(([, before, after]) => [before, after]));
    const bar = (className, n) => make("div", { className, style: `width:${(100 * n) / most}%` });
    return make("div", { className: "card tablebox" }, make("table", { className: "bars" },
      make("thead", {}, make("tr", {}, ...[head, "", "before", "after"].map((text, i) =>
        i === 1 ? make("td", { className: "pair" }) : make("th", { scope: "col", style: i ? "text-align:right" : "" }, text)))),
      make("tbody", {}, ...rows.map(([name, before, after]) => make("tr", {},
        make("th", { scope: "row" }, name),
        make("td", { className: "pair", "aria-hidden": "true" }, bar("was", before), bar("is", after)),
        make("td", { className: "number" }, format(before)),
        make("td", { className: `number ${after < before ? "down" : after > before ? "up" : ""}` }, format(after)))))));
  }
  function operators() {
    const body = byId("operators-body");
    const names = new Set([...Object.keys(data.before.operators), ...Object.keys(data.after.operators)]);
    const rows = [...names].map((name) => [name, data.before.operators[name] ?? 0, data.after.operators[name] ?? 0]);
    const changed = rows.filter(([, a, b]) => a !== b), same = rows.filter(([, a, b]) => a === b);
    if (!rows.length) { body.append(make("div", { className: "card empty" }, "The graph has no operators.")); return; }
    if (changed.length) body.append(bars(changed.sort((a, b) => Math.abs(b[1] - b[2]) - Math.abs(a[1] - a[2])), "operator", number));
    if (same.length) {
      const inside = make("div");
      const block = make("details", { className: "rule", style: "margin-top:.7rem" },
        make("summary", {}, make("b", {}, changed.length ? `${many(same.length, "operator")} as often as before` : `All ${many(same.length, "operator")}, as often as before`), make("span"), make("span", { className: "count" }, number(same.reduce((sum, each) => sum + each[1], 0)))), inside);
      block.addEventListener("toggle", () => { if (block.open && !inside.firstChild) inside.append(bars(same, "operator", number)); });
      body.append(block);
    }
    const cost = data.cost;
    if (cost.before && cost.after && (cost.before.operations || cost.before.bytes)) {
      body.append(make("h3", { className: "part" }, "Work, by estimate"),
        bars([["operations", cost.before.operations, cost.after.operations]], "", amount),
        bars([["bytes read and written", cost.before.bytes, cost.after.bytes]], "", bytes));
      const out = cost.before.uncounted || cost.after.uncounted;
      body.append(make("p", { className: "fine" }, "Counted from shapes, as if every node ran by itself; symbols count as 1. It is no measurement, and TensorRT runs several nodes as one kernel."
        + (out ? ` Left out for want of a shape or a known operator: ${many(cost.before.uncounted, "node")} before, ${number(cost.after.uncounted)} after.` : "")));
    }
  }

  // The engine -----------------------------------------------------------------------------------

  function engine() {
    const found = data.engine, body = byId("engine-body");
    if (!found || !body) return;
    const { a, b } = found;
    if (!a || !b) return;
    const both = (name) => typeof a[name] === "number" && typeof b[name] === "number";
    if (both("kernels")) body.append(bars([["kernels", a.kernels, b.kernels]], "", number));
    if (both("traffic")) body.append(bars([["traffic", a.traffic, b.traffic]], "", bytes));
    const rest = [["weights", "weights"], ["activation", "activation memory"], ["size", "plan"]].filter(([name]) => both(name));
    if (rest.length) body.append(bars(rest.map(([name, title]) => [title, a[name], b[name]]), "", bytes));
    const kernels = (title, list) => {
      if (!list?.length) return null;
      const rows = make("ul", { className: "list" }), end = make("div", { className: "end" });
      const block = make("details", { className: "rule", style: "margin-top:.7rem" },
        make("summary", {}, make("b", {}, title), make("span"), make("span", { className: "count" }, number(list.length))),
        make("div", { className: "inside" }, rows, end));
      block.addEventListener("toggle", () => {
        if (block.open && !rows.firstChild) grow(rows, list, (each) => make("li", { className: "mono" }, `${each.name} (${each.type}): ${each.nodes.join(", ")}`), end);
      });
      return block;
    };
    for (const part of [kernels("Kernels that are gone", found.vanished), kernels("Kernels that are new", found.appeared)]) if (part) body.append(part);
    const shapes = Object.entries(found.shapes ?? {}).map(([name, sizes]) => `${name}: ${sizes.join("×")}`).join(", ");
    const words = [found.backend ? `Built by ${found.backend}, not run.` : "From the logs of builds.", shapes ? `Open sizes were fixed at ${shapes}.` : "",
      both("seconds") ? `The builds took ${a.seconds.toFixed(2)} s and ${b.seconds.toFixed(2)} s.` : "", ...(found.notes ?? [])];
    body.append(make("p", { className: "fine" }, words.filter(Boolean).join(" ")));
  }

  // The whole graph ------------------------------------------------------------------------------

  const FATES = { fused: "fused", cleaned: "cleaned up", grouped: "grouped for one kernel", declined: "left, with a near miss", kept: "left as it was" };
  const TALL = 14;
  function map() {
    const body = byId("graph-body"), graph = data.graph;
    if (!graph || !graph.nodes.length) {
      body.append(make("div", { className: "card empty" }, !data.before.nodes ? "The graph is empty."
        : graph === null && data.pictures ? "This graph is too large to be drawn as a whole." : "This report does not say how its nodes are connected."));
      return;
    }
    const nodes = graph.nodes, count = {};
    nodes.forEach((node) => { count[node[4]] = (count[node[4]] ?? 0) + 1; });
    const columns = [];
    const layers = [];
    nodes.forEach((node, i) => { (layers[node[2]] ||= []).push(i); });
    layers.filter(Boolean).forEach((layer) => {
      for (let k = 0; k < layer.length; k += TALL) columns.push(layer.slice(k, k + TALL));
    });
    const named = nodes.length <= 36;
    const host = make("div", { className: "scroll" });
    const reading = make("p", { className: "reading", role: "status" });
    const go = make("button", { type: "button", className: "plain", hidden: "" });
    const card = make("div", { className: "card map" },
      make("ul", { className: "legend" }, ...Object.entries(FATES).filter(([fate]) => count[fate]).map(([fate, text]) =>
        make("li", { className: `fate-${fate}` }, make("i"), `${text}: ${number(count[fate])}`))),
      host, reading, go);
    body.append(card);
    const sentence = (i) => {
      const [label, op, , , fate, index] = nodes[i];
      const what = `${label} (${graph.operators[op]})`;
      if (fate === "grouped") return `${what}: runs in one kernel, ${data.fused[index].name}`;
      if (fate === "fused" || fate === "cleaned") {
        const entry = data.fused[index];
        return `${what}: ${entry.into.length ? `by ${entry.rule} into ${entry.into.join(", ")}` : `erased by ${entry.rule}`}`;
      }
      return fate === "declined" ? `${what}: not fused, because ${data.declined[index].because}` : `${what}: left as it was`;
    };
    reading.textContent = "Point at a node, or move with the arrow keys, to read what happened to it.";
    let at = -1, spots = [], svg = null, cursor = null, sized = 0, size = 0, order = [];
    function show(i, tell) {
      at = i;
      const [x, y, w, h] = spots[i];
      cursor.setAttribute("d", `M${x - 2} ${y - 2}h${w + 4}v${h + 4}h${-w - 4}z`);
      reading.textContent = sentence(i);
      const [, , , , fate, index] = nodes[i];
      go.hidden = index === null;
      go.textContent = fate === "declined" ? "Show the near miss" : "Show the picture";
      go.onclick = () => (fate === "declined" ? seek(index) : goToFusion(index));
      if (tell) {
        const scale = svg.clientWidth / sized;
        host.scrollTop = Math.max(0, Math.min(y * scale - 40, Math.max(host.scrollTop, (y + h) * scale + 20 - host.clientHeight)));
      }
    }
    function render() {
      const width = Math.max(260, host.clientWidth);
      if (Math.abs(width - sized) < 8) return;
      sized = width;
      const pitch = named ? 128 : nodes.length <= 300 ? 20 : nodes.length <= 1500 ? 14 : 11;
      const high = named ? 40 : pitch;
      const w = named ? 114 : Math.round(pitch * 0.68), h = named ? 26 : w;
      const across = Math.max(1, Math.floor((width - 8) / pitch));
      let top = 6;
      spots = new Array(nodes.length);
      order = [];
      const line = new Array(nodes.length);
      for (let start = 0; start < columns.length; start += across) {
        const part = columns.slice(start, start + across);
        const tall = Math.max(...part.map((column) => column.length));
        part.forEach((column, k) => column.forEach((i, r) => {
          spots[i] = [6 + k * pitch, top + (r + (tall - column.length) / 2) * high, w, h];
          line[i] = [start, k];
          order.push(i);
        }));
        top += tall * high + (named ? 6 : pitch * 0.7);
      }
      const paths = { fused: "", cleaned: "", grouped: "", declined: "", kept: "" };
      spots.forEach(([x, y], i) => { paths[nodes[i][4]] += `M${x} ${y}h${w}v${h}h${-w}z`; });
      let threads = "";
      nodes.forEach((node, i) => node[3].forEach((from) => {
        const [ra, ka] = line[from], [rb, kb] = line[i];
        if (ra !== rb || kb <= ka || kb - ka > 12) return;
        const x1 = spots[from][0] + w, y1 = spots[from][1] + h / 2, x2 = spots[i][0], y2 = spots[i][1] + h / 2;
        const bend = (x2 - x1) / 2;
        threads += y1 === y2 ? `M${x1} ${y1}H${x2}` : `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`;
      }));
      cursor = draw("path", { class: "cursor" });
      svg = draw("svg", { class: named ? "named" : "", viewBox: `0 0 ${width} ${Math.ceil(top)}`, tabindex: 0, role: "application", "aria-roledescription": "graph",
        "aria-label": `The graph: ${Object.entries(FATES).filter(([fate]) => count[fate]).map(([fate, text]) => `${count[fate]} ${text}`).join(", ")}. Arrow keys move from node to node, Enter shows more.` },
        draw("path", { class: "thread", d: threads }),
        ...Object.entries(paths).filter(([, d]) => d).map(([fate, d]) => draw("path", { class: `fate-${fate}`, d })));
      if (named) spots.forEach(([x, y], i) => svg.append(draw("text", { class: `inbox ${nodes[i][4]}`, x: x + w / 2, y: y + 17, "pointer-events": "none" }, short(graph.operators[nodes[i][1]], 18))));
      svg.append(cursor);
      size = pitch;
      const near = (event) => {
        const box = svg.getBoundingClientRect(), scale = width / box.width;
        const x = (event.clientX - box.left) * scale, y = (event.clientY - box.top) * scale;
        let best = -1, least = size * size;
        spots.forEach(([left, up], i) => {
          const dx = Math.max(left - x, 0, x - left - w), dy = Math.max(up - y, 0, y - up - h), apart = dx * dx + dy * dy;
          if (apart < least) { least = apart; best = i; }
        });
        return best;
      };
      svg.addEventListener("pointermove", (event) => { const i = near(event); if (i >= 0 && i !== at) show(i, false); });
      svg.addEventListener("click", (event) => { const i = near(event); if (i >= 0) { show(i, false); if (!go.hidden) go.onclick(); } });
      svg.addEventListener("focus", () => { if (at < 0) show(order[0], false); });
      svg.addEventListener("keydown", (event) => {
        const place = order.indexOf(at);
        let next = null;
        if (event.key === "ArrowRight") next = order[Math.min(order.length - 1, place + 1)];
        else if (event.key === "ArrowLeft") next = order[Math.max(0, place - 1)];
        else if (event.key === "Home") next = order[0];
        else if (event.key === "End") next = order[order.length - 1];
        else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
          const down = event.key === "ArrowDown" ? 1 : -1, [x0, y0] = spots[at];
          let least = Infinity;
          spots.forEach(([x, y], i) => {
            const apart = Math.abs(x - x0) + 3 * Math.abs(y - y0);
            if ((y - y0) * down > 1 && apart < least) { least = apart; next = i; }
          });
        } else if (event.key === "Enter" && !go.hidden) { event.preventDefault(); go.onclick(); return; }
        if (next === null) return;
        event.preventDefault();
        show(next, true);
      });
      host.replaceChildren(svg);
      if (at >= 0) show(at, false);
    }
    render();
    let waiting = 0;
    addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(render, 150); });
  }

  // About ----------------------------------------------------------------------------------------

  function about() {
    const stages = Object.entries(data.seconds), all = stages.reduce((sum, each) => sum + each[1], 0);
    if (!stages.length || !all) return;
    const list = make("ul", { className: "legend", style: "margin:.6rem 0 0" }, ...stages.map(([stage, seconds]) => make("li", {}, `${stage}: ${seconds.toFixed(seconds < 0.1 ? 3 : 2)} s`)));
    byId("about-body").append(make("div", { className: "stages", "aria-hidden": "true" }, ...stages.map(([, seconds]) => make("div", { style: `flex:${Math.max(0.002, seconds / all)}` }))), list);
  }

  function theme() {
    const root = document.documentElement, dark = matchMedia("(prefers-color-scheme: dark)");
    let chosen = null;
    const apply = () => { root.dataset.theme = chosen ?? (dark.matches ? "dark" : "light"); };
    dark.addEventListener("change", apply);
    byId("theme").addEventListener("click", () => { chosen = root.dataset.theme === "dark" ? "light" : "dark"; apply(); say(`${chosen} colours`); });
    addEventListener("beforeprint", () => { root.dataset.theme = "light"; });
    addEventListener("afterprint", apply);
    apply();
  }

  theme();
  map();
  fusions();
  misses();
  operators();
  engine();
  about();
})();
