// The images and runs, the state of the page, and who wants to hear of a change.

import { get } from "./dom.js";

export const state = {
  a: 0,
  b: -1,
  filters: {},
  sort: "suspicion",
  once: false, // one image of each photograph
  view: new Int32Array(0), // rows that pass all filters, in order
  marks: { label_wrong: {}, not_a_cell: [], same_photograph: [] },
};

const listeners = {};

export function on(event, listener) {
  (listeners[event] ??= []).push(listener);
}

export function emit(event, value) {
  for (const listener of listeners[event] ?? []) listener(value);
}

export let items = null;

export async function load() {
  const found = await get("items.json");
  const n = found.label.length;
  items = {
    ...found,
    n,
    label: Int16Array.from(found.label),
    source: { names: found.source.names, index: Int32Array.from(found.source.index) },
    group: { names: found.group.names, index: Int32Array.from(found.group.index) },
    folder: { names: found.folder.names, index: Int32Array.from(found.folder.index) },
    runs: found.runs.map((run) => ({
      ...run,
      predicted: Int16Array.from(run.predicted),
      confidence: Int16Array.from(run.confidence),
      of_label: Int16Array.from(run.of_label),
      split: Int8Array.from(run.split),
      evidence: Int8Array.from(run.evidence),
    })),
  };
  items.copies = new Int32Array(items.source.names.length);
  for (const source of items.source.index) items.copies[source] += 1;
  if (items.runs.length > 1) state.b = 1;
  return items;
}

export const path = (row) => {
  const folder = items.folder.names[items.folder.index[row]];
  return folder ? `${folder}/${items.file[row]}` : items.file[row];
};

// 1: right, 0: wrong, -1: no prediction.
export function correct(run, row) {
  const predicted = items.runs[run].predicted[row];
  return predicted < 0 ? -1 : Number(predicted === items.label[row]);
}

export function copiesOf(row) {
  const source = items.source.index[row];
  const found = [];
  for (let other = 0; other < items.n; other += 1) if (items.source.index[other] === source) found.push(other);
  return found;
}

export function describe(row) {
  const parts = [`label ${items.classes[items.label[row]]}`];
  for (const run of state.b < 0 ? [state.a] : [state.a, state.b]) {
    const { predicted, confidence, name } = items.runs[run];
    const who = state.b < 0 ? "" : ` by ${name}`;
    parts.push(
      predicted[row] < 0
        ? `not predicted${who}`
        : `predicted ${items.classes[predicted[row]]}${who}, ${((100 * confidence[row]) / items.steps).toFixed(0)} %`,
    );
  }
  const marks = marksOf(row);
  return [...parts, ...marks].join(", ");
}

export function marksOf(row) {
  const found = [];
  if (row in state.marks.label_wrong) {
    const label = state.marks.label_wrong[row];
    found.push(label ? `marked: label wrong, is ${label}` : "marked: label wrong");
  }
  if (state.marks.not_a_cell.includes(row)) found.push("marked: not a cell");
  if (state.marks.same_photograph.some((rows) => rows.includes(row))) found.push("marked: same photograph");
  return found;
}
