// The confusion matrix of the images that are shown; a cell filters by label and predicted class.

import { byId, el, number } from "./dom.js";
import { items, on, state } from "./data.js";
import { passing, setSeveral } from "./filters.js";

export function build() {
  on("view", draw);
  draw();
}

function draw() {
  const k = items.classes.length;
  const counts = Array.from({ length: k }, () => new Int32Array(k));
  const { predicted } = items.runs[state.a];
  for (const row of passing("label", "predicted", "correct")) if (predicted[row] >= 0) counts[items.label[row]][predicted[row]] += 1;
  const total = counts.flatMap((each) => [...each]).reduce((sum, each) => sum + each, 0);
  const right = counts.reduce((sum, each, index) => sum + each[index], 0);
  const short = abbreviations(items.classes);
  const head = el("tr", {}, el("td"), ...short.map((name, index) => el("th", { scope: "col", title: items.classes[index] }, el("abbr", { title: items.classes[index] }, name))));
  const body = counts.map((each, label) => {
    const sum = each.reduce((all, count) => all + count, 0);
    return el("tr", {}, el("th", { scope: "row" }, el("abbr", { title: items.classes[label] }, short[label])), ...[...each].map((count, index) => cell(count, sum, label, index)));
  });
  const caption = el("caption", {}, total ? `Accuracy ${(100 * right / total).toFixed(1)} % of ${number(total)} predictions that pass the other filters. Rows: labels, columns: predictions.` : "No predictions are shown.");
  const focus = document.activeElement?.dataset?.cell;
  byId("confusion").replaceChildren(el("h2", {}, "Confusion matrix"), el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Confusion matrix" }, el("table", { class: "confusion" }, caption, el("thead", {}, head), el("tbody", {}, ...body))));
  if (focus) byId("confusion").querySelector(`[data-cell="${focus}"]`)?.focus();
}

function cell(count, sum, label, predicted) {
  const share = sum ? count / sum : 0;
  const pressed = state.filters.label === label && state.filters.predicted === predicted;
  const name = `${number(count)} images with the label ${items.classes[label]}, predicted as ${items.classes[predicted]}`;
  const button = el("button", { type: "button", "aria-pressed": pressed ? "true" : "false", "aria-label": name, title: name, "data-cell": `${label}-${predicted}`, onclick: () => choose(label, predicted, pressed) }, number(count));
  const kind = label === predicted ? "diagonal" : "error";
  button.className = `${kind} heat-${Math.min(Math.ceil(share * 5), 5)}`;
  return el("td", {}, button);
}

function choose(label, predicted, pressed) {
  setSeveral(pressed ? { label: null, predicted: null, correct: null } : { label, predicted, correct: null });
}

// The shortest beginnings that differ.
function abbreviations(names) {
  let length = 4;
  while (length < 12 && new Set(names.map((name) => name.slice(0, length))).size < names.length) length += 1;
  return names.map((name) => name.slice(0, length));
}
