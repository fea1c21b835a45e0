// What the report says of the rules themselves.
import { data } from "./data.js";

export const equationOf = (name) => data.rules[name]?.equation;

export function documentOf(name) {
  const { entry, document: source } = data.rules[name] ?? {};
  return source ? `${entry}, ${source}` : entry;
}
