// Filters: which images are shown, in which order.

import { byId, el, number, options } from "./dom.js";
import { correct, emit, items, path, state } from "./data.js";

const ANY = "";

// Each filter: its label, its choices, and whether a row passes a chosen value.
const FILTERS = {
  split: {
    label: "Split",
    choices: () => items.splits.map((name, index) => [index, name]),
    passes: (row, value) => items.runs[state.a].split[row] === value,
  },
  label: {
    label: "Class (label)",
    choices: () => items.classes.map((name, index) => [index, name]),
    passes: (row, value) => items.label[row] === value,
  },
  predicted: {
    label: "Predicted class",
    choices: () => [...items.classes.map((name, index) => [index, name]), [-1, "none"]],
    passes: (row, value) => items.runs[state.a].predicted[row] === value,
  },
  correct: {
    label: "Prediction",
    choices: () => [[1, "correct"], [0, "wrong"], [-1, "none"]],
    passes: (row, value) => correct(state.a, row) === value,
  },
  evidence: {
    label: "Evidence",
    choices: () => items.evidence.map((name, index) => [index, name]),
    passes: (row, value) => items.runs[state.a].evidence[row] === value,
  },
  agreement: {
    label: "The two runs",
    choices: () => [
      ["differ", "predict different classes"], ["11", "both correct"], ["10", "only the first correct"],
      ["01", "only the second correct"], ["00", "both wrong"],
    ],
    passes: (row, value) => passesAgreement(row, value),
    hidden: () => state.b < 0,
  },
  mark: {
    label: "Marks",
    choices: () => [
      ["any", "any mark"], ["label_wrong", "label wrong"], ["not_a_cell", "not a cell"],
      ["same_photograph", "same photograph"],
    ],
    passes: (row, value) => passesMark(row, value),
  },
};

function passesAgreement(row, value) {
  if (state.b < 0) return true;
  const [a, b] = [items.runs[state.a].predicted[row], items.runs[state.b].predicted[row]];
  if (a < 0 || b < 0) return false;
  return value === "differ" ? a !== b : value === `${correct(state.a, row)}${correct(state.b, row)}`;
}

function passesMark(row, value) {
  const { label_wrong, not_a_cell, same_photograph } = state.marks;
  const has = {
    label_wrong: row in label_wrong,
    not_a_cell: not_a_cell.includes(row),
    same_photograph: same_photograph.some((rows) => rows.includes(row)),
  };
  return value === "any" ? Object.values(has).some(Boolean) : has[value];
}

export function build() {
  const form = byId("filters");
  form.addEventListener("submit", (event) => event.preventDefault());
  const fields = Object.entries(FILTERS).map(([name, filter]) => {
    const select = el("select", { name, onchange: () => set(name, select.value) });
    return el("label", { "data-filter": name }, filter.label, select);
  });
  const confidence = el(
    "fieldset",
    {},
    el("legend", {}, "Confidence, %"),
    el("input", { name: "least", type: "number", min: 0, max: 100, step: "any", "aria-label": "least confidence in per cent", placeholder: "0", onchange: readConfidence }),
    " to ",
    el("input", { name: "most", type: "number", min: 0, max: 100, step: "any", "aria-label": "most confidence in per cent", placeholder: "100", onchange: readConfidence }),
  );
  const search = el("input", { name: "text", type: "search", oninput: () => set("text", search.value.trim().toLowerCase()) });
  const noun = items.group_name;
  form.append(...fields, confidence, el("label", {}, `Part of a path or the name of a ${noun}`, search));
  fill();
}

// Each choice with the number of images that pass all other filters.
function fill() {
  for (const [name, filter] of Object.entries(FILTERS)) {
    const field = byId("filters").querySelector(`[data-filter="${name}"]`);
    field.hidden = filter.hidden?.() ?? false;
    if (field.hidden) continue;
    const rows = passing(name);
    const chosen = name in state.filters ? String(state.filters[name]) : ANY;
    const entries = filter.choices().map(([value, text]) => {
      let count = 0;
      for (const row of rows) if (filter.passes(row, value)) count += 1;
      return el("option", { value, selected: String(value) === chosen, disabled: !count && String(value) !== chosen }, `${text} (${number(count)})`);
    });
    field.querySelector("select").replaceChildren(el("option", { value: ANY, selected: chosen === ANY }, "all"), ...entries);
  }
}

function readConfidence() {
  const [least, most] = ["least", "most"].map((name) => byId("filters").elements[name].value);
  const low = least === "" ? 0 : Math.round((Number(least) / 100) * items.steps);
  const high = most === "" ? items.steps : Math.round((Number(most) / 100) * items.steps);
  set("confidence", low > 0 || high < items.steps ? [low, high] : ANY);
}

// Values of selects are text; those of filters are numbers where the choices are.
export function set(name, value) {
  if (value === ANY || value === undefined || value === null) delete state.filters[name];
  else {
    const choice = FILTERS[name]?.choices().find(([known]) => String(known) === String(value));
    state.filters[name] = choice ? choice[0] : value;
  }
  apply();
}

export function setSeveral(values) {
  for (const [name, value] of Object.entries(values)) {
    if (value === null) delete state.filters[name];
    else state.filters[name] = value;
  }
  apply();
}

export function clearAll() {
  state.filters = {};
  byId("filters").reset();
  apply();
}

// Rows that pass all filters but some: what a chart counts must not depend on the filter that the chart sets.
export function passing(...except) {
  const tests = Object.entries(state.filters)
    .filter(([name]) => !except.includes(name))
    .map(([name, value]) => test(name, value));
  const found = new Int32Array(items.n);
  let n = 0;
  for (let row = 0; row < items.n; row += 1) if (tests.every((passes) => passes(row))) found[n++] = row;
  return found.subarray(0, n);
}

function test(name, value) {
  if (name in FILTERS) return (row) => FILTERS[name].passes(row, value);
  if (name === "confidence") {
    const { confidence } = items.runs[state.a];
    return (row) => confidence[row] >= value[0] && confidence[row] <= value[1];
  }
  if (name === "bin") {
    const { confidence } = items.runs[state.a];
    return (row) => confidence[row] > value[0] && confidence[row] <= value[1];
  }
  if (name === "region") return (row) => value.has(row);
  if (name === "rows") return (row) => value.set.has(row);
  const groups = items.group.names.map((each) => each.toLowerCase().includes(value));
  return (row) => groups[items.group.index[row]] || path(row).toLowerCase().includes(value);
}

const SORTS = {
  suspicion: ["least probable label first", (row) => key(items.runs[state.a].of_label[row], items.steps + 1)],
  confidence: ["most confident first", (row) => -items.runs[state.a].confidence[row]],
  unsure: ["least confident first", (row) => key(items.runs[state.a].confidence[row], items.steps + 1)],
  difference: ["largest difference between the runs", (row) => (state.b < 0 ? row : -Math.abs(items.runs[state.a].of_label[row] - items.runs[state.b].of_label[row]))],
  source: ["photograph", (row) => items.source.index[row]],
  path: ["path", (row) => row],
};

const key = (value, missing) => (value < 0 ? missing : value);

export function buildSort() {
  const select = byId("sort");
  options(select, Object.entries(SORTS).map(([name, [text]]) => [name, text]), state.sort);
  select.addEventListener("change", () => {
    state.sort = select.value;
    apply();
  });
  const once = byId("once");
  byId("once-label").hidden = items.source.names.length === items.n; // no photograph has copies
  once.addEventListener("change", () => {
    state.once = once.checked;
    apply();
  });
}

export function apply() {
  const rows = passing();
  const keys = new Float64Array(items.n);
  for (const row of rows) keys[row] = SORTS[state.sort][1](row);
  const sorted = rows.slice().sort((one, other) => keys[one] - keys[other] || one - other);
  state.view = state.once ? firstOfEach(sorted) : sorted;
  fill();
  chips();
  byId("count").textContent = state.view.length ? `${number(state.view.length)} of ${number(items.n)} images` : "No image passes all filters";
  emit("view");
}

function firstOfEach(rows) {
  const seen = new Uint8Array(items.source.names.length);
  return rows.filter((row) => !seen[items.source.index[row]] && (seen[items.source.index[row]] = 1));
}

function chips() {
  const shown = Object.entries(state.filters).map(([name, value]) => {
    const text = chipText(name, value);
    return el("button", { type: "button", class: "chip", "aria-label": `Remove the filter ${text}`, onclick: () => remove(name) }, text, el("span", { "aria-hidden": "true" }, " ×"));
  });
  if (shown.length > 1) shown.push(el("button", { type: "button", class: "chip", onclick: clearAll }, "Remove all"));
  byId("chips").replaceChildren(...shown);
}

function remove(name) {
  if (name === "text") byId("filters").elements.text.value = "";
  if (name === "confidence") for (const end of ["least", "most"]) byId("filters").elements[end].value = "";
  set(name, ANY);
  byId("grid").focus({ preventScroll: true });
}

function chipText(name, value) {
  const percent = (part) => `${((100 * part) / items.steps).toFixed(0)} %`;
  if (name in FILTERS) {
    const found = FILTERS[name].choices().find(([each]) => each === value);
    return `${FILTERS[name].label}: ${found ? found[1] : value}`;
  }
  if (name === "confidence" || name === "bin") return `Confidence: ${percent(value[0])} to ${percent(value[1])}`;
  if (name === "region") return "Region of the map";
  if (name === "rows") return value.text;
  return `Contains: ${value}`;
}
