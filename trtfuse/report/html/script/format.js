// How numbers, names and shapes are written, everywhere on the page.

const SIZES = [[1e12, "TB"], [1e9, "GB"], [1e6, "MB"], [1e3, "kB"]];
const THOUSANDS = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]];

export const number = (n) => n.toLocaleString("en-US");

// "1 node", "2 nodes"; with the plural given, where it is no s.
export const counted = (n, thing, things = `${thing}s`) => `${number(n)} ${n === 1 ? thing : things}`;

export const times = (n) => `${number(n)}×`;

// "1 of 3 entries", or "3 entries" where it is all of them.
export const part = (n, all, thing, things) =>
  (n === all ? counted(all, thing, things) : `${number(n)} of ${counted(all, thing, things)}`);

// Three digits and a unit; undefined where the smallest unit is too large.
function scaled(n, units) {
  // 999,999 bytes are 1 MB, not 1000 kB.
  const unit = units.find(([size]) => n >= 0.9995 * size);
  if (!unit) return undefined;
  const amount = n / unit[0];
  return `${amount >= 999.5 ? Math.round(amount) : Number(amount.toPrecision(3))} ${unit[1]}`;
}
const signed = (n, text) => (n < 0 ? `−${text}` : text);

// 217 MB, 1.5 kB, 80 bytes.
export const bytes = (n) => signed(n, scaled(Math.abs(n), SIZES) ?? counted(Math.abs(n), "byte"));

// 57.7 k, 80.
export const operations = (n) => signed(n, scaled(Math.abs(n), THOUSANDS) ?? number(Math.abs(n)));

export const seconds = (n) => `${n.toFixed(n < 0.1 ? 3 : 2)} s`;

export const scientific = (n, digits = 1) => n.toExponential(digits);

export const shape = (sizes) => (sizes === null ? "?" : sizes.length ? sizes.join("×") : "scalar");

// A name shortened in its middle, since names of layers differ at their ends.
export function short(text, most) {
  const signs = [...text];
  if (signs.length <= most) return text;
  const end = Math.ceil((most - 1) * 0.65);
  return `${signs.slice(0, most - 1 - end).join("")}…${signs.slice(-end).join("")}`;
}
