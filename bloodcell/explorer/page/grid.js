// The grid of images: only the tiles that can be seen exist.
//
// It is a listbox whose focus stays on the box itself (aria-activedescendant), so that it is never lost when the tile of
// the active image is scrolled away.

import { announce, byId, el, number } from "./dom.js";
import { correct, describe, emit, items, marksOf, on, state } from "./data.js";

const GAP = 8;
const CAPTION = 18; // height of a line
const FAST = 2500; // pixels a second, beyond which pictures wait for the end of scrolling
const REST = 100; // milliseconds

const box = byId("grid");
const spacer = el("div", { class: "spacer", role: "presentation" });
const tiles = new Map(); // by place in the view
export const selected = new Set(); // rows
let active = 0; // place in the view
let anchor = 0; // where a selection of several began
let size = 132; // asked for
let width = 132; // of a tile, which fills its column
let columns = 1;
let rowHeight = 1;
let asked = false;
let last = { top: 0, at: 0 };
let resting = 0;

export function build() {
  box.append(spacer);
  box.addEventListener("scroll", request, { passive: true });
  box.addEventListener("keydown", keys);
  box.addEventListener("click", clicked);
  box.addEventListener("dblclick", (event) => open(placeOf(event)));
  new ResizeObserver(() => layout()).observe(box);
  byId("size").addEventListener("input", (event) => {
    size = Number(event.target.value);
    layout();
  });
  on("view", () => {
    active = 0;
    anchor = 0;
    box.scrollTop = 0;
    layout();
  });
  on("marks", redraw);
  on("runs", layout);
}

function layout() {
  const keep = state.view[active];
  columns = Math.max(1, Math.floor((box.clientWidth - GAP) / (size + GAP)));
  width = Math.floor((box.clientWidth - GAP) / columns) - GAP;
  rowHeight = Math.round(width * 0.75) + CAPTION * (state.b < 0 ? 2 : 3) + 12 + GAP;
  spacer.style.height = `${Math.ceil(state.view.length / columns) * rowHeight + GAP}px`;
  if (keep !== undefined) reveal(active);
  redraw();
}

function redraw() {
  for (const tile of tiles.values()) tile.remove();
  tiles.clear();
  draw();
}

function request() {
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => {
    asked = false;
    draw();
  });
}

function draw() {
  const now = performance.now();
  const top = box.scrollTop;
  const speed = Math.abs(top - last.top) / Math.max(now - last.at, 1) * 1000;
  last = { top, at: now };
  const first = Math.max(Math.floor(top / rowHeight) - 1, 0) * columns;
  const end = Math.min((Math.ceil((top + box.clientHeight) / rowHeight) + 1) * columns, state.view.length);
  for (const [place, tile] of tiles) {
    if (place < first || place >= end) {
      tile.remove();
      tiles.delete(place);
    }
  }
  const added = document.createDocumentFragment();
  for (let place = first; place < end; place += 1) {
    if (!tiles.has(place)) {
      const tile = make(place);
      tiles.set(place, tile);
      added.append(tile);
    }
  }
  spacer.append(added);
  clearTimeout(resting);
  if (speed < FAST) load();
  else resting = setTimeout(load, REST);
  box.setAttribute("aria-activedescendant", tiles.has(active) ? tiles.get(active).id : "");
}

function load() {
  for (const tile of tiles.values()) {
    const image = tile.firstChild;
    if (image.dataset.src) {
      image.src = image.dataset.src;
      delete image.dataset.src;
    }
  }
}

function make(place) {
  const row = state.view[place];
  const right = correct(state.a, row);
  const image = el("img", { alt: "", "data-src": `thumbnail/${row}`, width, height: Math.round(width * 0.75), decoding: "async", onerror: missing });
  const runs = state.b < 0 ? [state.a] : [state.a, state.b];
  const lines = runs.map((run) => verdict(run, row));
  const marks = marksOf(row).length ? el("span", { class: "flag", "aria-hidden": "true" }, "⚑") : null;
  const tile = el(
    "div",
    {
      class: `tile ${["wrong", "right"][right] ?? "none"}`,
      role: "option",
      id: `tile-${place}`,
      "aria-selected": selected.has(row) ? "true" : "false",
      "aria-setsize": state.view.length,
      "aria-posinset": place + 1,
      "aria-label": describe(row),
    },
    image,
    el("span", { class: "line label", "aria-hidden": "true" }, items.classes[items.label[row]]),
    ...lines,
    marks,
  );
  if (place === active) tile.classList.add("active");
  tile.dataset.place = place;
  tile.style.width = `${width}px`;
  tile.style.transform = `translate(${GAP + (place % columns) * (width + GAP)}px, ${GAP + Math.floor(place / columns) * rowHeight}px)`;
  return tile;
}

function verdict(run, row) {
  const { predicted, confidence } = items.runs[run];
  if (predicted[row] < 0) return el("span", { class: "line none", "aria-hidden": "true" }, "not predicted");
  const right = predicted[row] === items.label[row];
  const text = `${right ? "✓" : "✗"} ${((100 * confidence[row]) / items.steps).toFixed(0)} % ${right ? "" : items.classes[predicted[row]]}`;
  return el("span", { class: `line ${right ? "right" : "wrong"}`, "aria-hidden": "true", title: text }, text);
}

function missing(event) {
  event.target.replaceWith(el("span", { class: "missing" }, "not here"));
}

function placeOf(event) {
  const tile = event.target.closest(".tile");
  return tile ? Number(tile.dataset.place) : -1;
}

function clicked(event) {
  const place = placeOf(event);
  if (place < 0) return;
  if (event.shiftKey) range(place);
  else if (event.ctrlKey || event.metaKey) toggle(place);
  else open(place);
  move(place, { scroll: false });
}

function open(place) {
  if (place >= 0 && place < state.view.length) emit("open", state.view[place]);
}

function toggle(place) {
  const row = state.view[place];
  if (!selected.delete(row)) selected.add(row);
  anchor = place;
  changed();
}

function range(place) {
  const [low, high] = [Math.min(anchor, place), Math.max(anchor, place)];
  for (let each = low; each <= high; each += 1) selected.add(state.view[each]);
  changed();
}

export function clearSelection() {
  selected.clear();
  changed();
}

function changed() {
  for (const [place, tile] of tiles) tile.setAttribute("aria-selected", selected.has(state.view[place]) ? "true" : "false");
  announce(`${number(selected.size)} selected`);
  emit("selected");
}

const screen = () => columns * Math.max(Math.floor(box.clientHeight / rowHeight), 1);
const STEPS = {
  ArrowLeft: () => active - 1,
  ArrowRight: () => active + 1,
  ArrowUp: () => active - columns,
  ArrowDown: () => active + columns,
  PageUp: () => active - screen(),
  PageDown: () => active + screen(),
  Home: () => 0,
  End: () => state.view.length - 1,
};

function keys(event) {
  if (!state.view.length || event.altKey) return;
  if (event.key in STEPS) {
    const place = Math.min(Math.max(STEPS[event.key](), 0), state.view.length - 1);
    move(place);
    if (event.shiftKey) range(place);
  } else if (event.key === "Enter") open(active);
  else if (event.key === " ") toggle(active);
  else if (event.key === "Escape") clearSelection();
  else if (event.key === "a" && (event.ctrlKey || event.metaKey)) {
    for (const row of state.view) selected.add(row);
    changed();
  } else return;
  event.preventDefault();
}

function move(place, { scroll = true } = {}) {
  tiles.get(active)?.classList.remove("active");
  active = place;
  if (scroll) reveal(place);
  draw();
  tiles.get(active)?.classList.add("active");
}

// The next or previous image of the view, for the details.
export function step(row, by) {
  const place = state.view.indexOf(row) + by;
  if (place < 0 || place >= state.view.length) return;
  move(place);
  open(place);
}

function reveal(place) {
  const top = Math.floor(place / columns) * rowHeight;
  if (top < box.scrollTop) box.scrollTop = top;
  else if (top + rowHeight + GAP > box.scrollTop + box.clientHeight) box.scrollTop = top + rowHeight + GAP - box.clientHeight;
}
