// How long each stage of the run took.
import { data } from "./data.js";
import { byId, make } from "./elements.js";
import { seconds } from "./format.js";

export function showStages() {
  const stages = Object.entries(data.seconds);
  const all = stages.reduce((sum, [, time]) => sum + time, 0);
  if (!all) return;
  byId("about-body").append(
    make("div", { className: "stages", "aria-hidden": "true" },
      ...stages.map(([, time]) => make("div", { style: `flex:${Math.max(0.002, time / all)}` }))),
    make("ul", { className: "legend", style: "margin:.6rem 0 0" },
      ...stages.map(([stage, time]) => make("li", {}, `${stage}: ${seconds(time)}`))));
}
