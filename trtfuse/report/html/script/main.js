// The page, from top to bottom.
import { showStages } from "./about.js";
import { showEngine } from "./engine.js";
import { showFusions } from "./fusions.js";
import { showNearMisses } from "./misses.js";
import { showOperators } from "./operators.js";
import { showOverview } from "./overview.js";
import { followTheme } from "./theme.js";

followTheme();
showOverview();
showFusions();
showNearMisses();
showOperators();
showEngine();
showStages();
