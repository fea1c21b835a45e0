// Lints the script of the report's page: `npx eslint`.
import js from "@eslint/js";

const browser = [
  "addEventListener", "clearTimeout", "document", "matchMedia", "setTimeout",
];
const readonly = (names) => Object.fromEntries(names.map((name) => [name, "readonly"]));

export default [
  { ignores: ["**/dagre/", "site/"] },
  js.configs.recommended,
  {
    files: ["trtfuse/report/html/script/*.js"],
    languageOptions: { ecmaVersion: 2022, sourceType: "module", globals: readonly(browser) },
    linterOptions: { reportUnusedDisableDirectives: "error" },
    rules: {
      curly: ["error", "multi-line"],
      eqeqeq: "error",
      "no-shadow": "error",
      "no-var": "error",
      "prefer-const": "error",
    },
  },
  {
    // dagre is a script of its own, and makes a global of this name.
    files: ["trtfuse/report/html/script/layout.js"],
    languageOptions: { globals: readonly(["dagre"]) },
  },
];
