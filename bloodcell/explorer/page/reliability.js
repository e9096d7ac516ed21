// The reliability diagram of the images that are shown; a bin filters by confidence.

import { byId, el, number, percent } from "./dom.js";
import { correct, items, on, state } from "./data.js";
import { passing, setSeveral } from "./filters.js";

const BINS = 15;

export function build() {
  on("view", draw);
  draw();
}

function draw() {
  const bins = Array.from({ length: BINS }, (_, index) => ({ low: (index * items.steps) / BINS, high: ((index + 1) * items.steps) / BINS, n: 0, right: 0, sum: 0 }));
  const { confidence } = items.runs[state.a];
  for (const row of passing("confidence", "bin")) {
    if (confidence[row] < 0) continue;
    const bin = bins[Math.min(Math.max(Math.ceil((confidence[row] * BINS) / items.steps) - 1, 0), BINS - 1)];
    bin.n += 1;
    bin.right += correct(state.a, row);
    bin.sum += confidence[row] / items.steps;
  }
  const first = bins.findIndex((bin) => bin.n);
  const focus = document.activeElement?.dataset?.bin;
  byId("reliability").replaceChildren(
    el("h2", {}, "Reliability diagram"),
    el("p", { class: "soft" }, "Bar: accuracy of a bin. Line: its mean confidence. A bar below its line: too confident."),
    el("div", { class: "bins", role: "group", "aria-label": "Bins of confidence" }, ...(first < 0 ? [] : bins.slice(first).map(bar))),
    el("div", { class: "bins-axis soft", "aria-hidden": "true" }, el("span", {}, first < 0 ? "" : percent(bins[first].low / items.steps, 0)), el("span", {}, "confidence"), el("span", {}, "100 %")),
  );
  if (focus) byId("reliability").querySelector(`[data-bin="${focus}"]`)?.focus();
}

function bar(bin) {
  const pressed = state.filters.bin?.[1] === bin.high;
  const range = `${percent(bin.low / items.steps, 0)} to ${percent(bin.high / items.steps, 0)}`;
  const name = bin.n ? `Confidence ${range}: ${number(bin.n)} images, accuracy ${percent(bin.right / bin.n)}, mean confidence ${percent(bin.sum / bin.n)}` : `Confidence ${range}: no images`;
  const button = el("button", { type: "button", disabled: !bin.n, "aria-pressed": pressed ? "true" : "false", "aria-label": name, title: name, "data-bin": bin.high, onclick: () => setSeveral({ bin: pressed ? null : [bin.low, bin.high], confidence: null }) });
  if (bin.n) {
    const fill = el("span", { class: "fill" });
    fill.style.height = `${(100 * bin.right) / bin.n}%`;
    const mean = el("span", { class: "mean" });
    mean.style.bottom = `${(100 * bin.sum) / bin.n}%`;
    button.append(fill, mean);
  }
  return button;
}
