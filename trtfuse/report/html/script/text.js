// How wide texts are in drawings, where the browser does not break lines.
import { short } from "./format.js";

// As page.css has them for svg text.
const SANS = 'system-ui, "DejaVu Sans", sans-serif';
const FONTS = {
  op: `650 13px ${SANS}`,
  small: `11px ${SANS}`,
  pill: `12px ${SANS}`,
  inbox: `600 10px ${SANS}`,
  shape: '11px ui-monospace, SFMono-Regular, "DejaVu Sans Mono", Menlo, Consolas, monospace',
};
const canvas = document.createElement("canvas").getContext("2d");

export function widthOf(kind, text) {
  canvas.font = FONTS[kind];
  return canvas.measureText(text).width;
}

// A text, or as much of it as fits.
export function fit(kind, text, wide) {
  let most = [...text].length, fitted = text;
  while (most > 1 && widthOf(kind, fitted) > wide) {
    most -= 1;
    fitted = short(text, most);
  }
  return fitted;
}
