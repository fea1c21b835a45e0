// Making elements. Everything is text: nothing of a model is ever parsed as HTML.

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

// An HTML element. Attributes that are null, undefined or false are left out; `onclick` and its like
// are functions.
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name === "className" ? "class" : name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// An SVG element.
export function draw(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

export const notice = (text) => make("div", { className: "card empty" }, text);

// A part that is closed at first, and filled when it is opened for the first time.
export function foldable(attributes, summary, inside, fill) {
  const block = make("details", { className: "rule", ...attributes }, make("summary", {}, ...summary), inside);
  block.addEventListener("toggle", () => { if (block.open && !inside.firstChild) fill(inside); });
  return block;
}

// Names and what is to be said of them; facts without content are left out.
export function facts(...rows) {
  const list = make("dl", { className: "facts" });
  for (const [name, content, className] of rows) {
    if (content) list.append(make("dt", {}, name), make("dd", {}, className ? make("span", { className }, content) : content));
  }
  return list;
}

// Tells those who do not see the page what has changed on it.
export function say(text) {
  byId("said").textContent = text;
}

// A text in which backticks stand around code.
export const coded = (text) => text.split("`").map((part, i) => (i % 2 ? make("code", {}, part) : part));
