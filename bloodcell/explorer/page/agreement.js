// Two runs on the same images: how many both, one or none classify correctly; a cell filters.

import { byId, el, number } from "./dom.js";
import { correct, items, on, state } from "./data.js";
import { passing, set } from "./filters.js";

export function build() {
  on("view", draw);
  draw();
}

function draw() {
  const section = byId("agreement");
  section.hidden = state.b < 0;
  if (state.b < 0) return;
  const counts = { "11": 0, "10": 0, "01": 0, "00": 0, differ: 0 };
  const [a, b] = [items.runs[state.a].predicted, items.runs[state.b].predicted];
  for (const row of passing("agreement")) {
    if (a[row] < 0 || b[row] < 0) continue;
    counts[`${correct(state.a, row)}${correct(state.b, row)}`] += 1;
    counts.differ += Number(a[row] !== b[row]);
  }
  const cell = (key, text) => {
    const pressed = state.filters.agreement === key;
    return el("button", { type: "button", "aria-pressed": pressed ? "true" : "false", "data-cell": key, "aria-label": `${number(counts[key])} images: ${text}`, onclick: () => set("agreement", pressed ? "" : key) }, number(counts[key]));
  };
  const focus = document.activeElement?.dataset?.cell;
  section.replaceChildren(
    el("h2", {}, "Two runs"),
    el("table", { class: "agreement" },
      el("caption", {}, "Images that both runs predicted."),
      el("thead", {}, el("tr", {}, el("td"), el("th", { scope: "col" }, "second correct"), el("th", { scope: "col" }, "second wrong"))),
      el("tbody", {},
        el("tr", {}, el("th", { scope: "row" }, "first correct"), el("td", {}, cell("11", "both correct")), el("td", {}, cell("10", "only the first correct"))),
        el("tr", {}, el("th", { scope: "row" }, "first wrong"), el("td", {}, cell("01", "only the second correct")), el("td", {}, cell("00", "both wrong"))))),
    el("p", {}, cell("differ", "predict different classes"), " predicted as different classes"),
  );
  if (focus) section.querySelector(`[data-cell="${focus}"]`)?.focus();
}
