// The map: each image is a point; similar images are near each other.

import { announce, byId, el, get, number, options, plural } from "./dom.js";
import { correct, describe, emit, items, on, state } from "./data.js";
import { setSeveral } from "./filters.js";

// Okabe and Ito: distinguishable with every kind of colour vision; grey and others beyond eight.
const COLOURS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#b8a800", "#7a7a7a"];
const SCALE = ["#440154", "#3b528b", "#21918c", "#5ec962", "#fde725"]; // viridis
const WAIT = 1500; // milliseconds
const NEAR = 12; // pixels

let map = null;
let kind = "pca";
let colouring = "label";
let places = null; // screen coordinates by row
let hovered = -1;
let drag = null;
let canvas;
let context;

const COLOURINGS = {
  label: { text: "class (label)", index: (row) => items.label[row], names: () => items.classes },
  predicted: { text: "predicted class", index: (row) => items.runs[state.a].predicted[row], names: () => items.classes, none: "no prediction" },
  correct: { text: "errors", index: (row) => [1, 0][correct(state.a, row)] ?? -1, names: () => ["wrong", "correct"], none: "no prediction", colours: ["#d55e00", "#56b4e9"] },
  split: { text: "training, validation, test", index: (row) => items.runs[state.a].split[row], names: () => items.splits },
  source: { text: "photograph", index: (row) => items.source.index[row] % COLOURS.length, names: () => [], note: "Images of one photograph have one colour; other photographs can have it, too." },
  novelty: { text: "novelty", value: (row) => map.novelty?.[row], note: "Distance from the training images of other photographs: yellow is as far as hardly any of them, or farther." },
};

export function build() {
  const view = byId("view-map");
  canvas = el("canvas", { tabindex: 0, role: "application", "aria-label": "Map of the images. Arrow keys go to the next image in that direction, Enter opens it.", "aria-describedby": "map-help" });
  context = canvas.getContext("2d");
  const kinds = el("select", { onchange: () => ((kind = kinds.value), load()) });
  options(kinds, [["pca", "PCA"], ["umap", "UMAP"]], kind);
  const colours = el("select", { onchange: () => ((colouring = colours.value), draw()) });
  options(colours, Object.entries(COLOURINGS).map(([name, each]) => [name, each.text]), colouring);
  view.append(
    el("div", { class: "bar" }, el("label", {}, "Map ", kinds), el("label", {}, "Colour ", colours), el("p", { id: "map-state", role: "status" })),
    el("div", { id: "legend", class: "legend" }),
    el("div", { class: "canvas" }, canvas, el("div", { id: "tip", class: "tip", hidden: true, "aria-hidden": "true" })),
    el("p", { id: "map-help", class: "soft" }, "Click a point to open its image. Drag a rectangle to show only the images in it. Filters apply here, too: other images are grey. Crosses are errors."),
  );
  canvas.addEventListener("pointermove", hover);
  canvas.addEventListener("pointerdown", press);
  canvas.addEventListener("pointerup", release);
  canvas.addEventListener("pointerleave", () => show(-1));
  canvas.addEventListener("keydown", keys);
  new ResizeObserver(draw).observe(canvas.parentElement);
  on("view", draw);
  on("runs", draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
}

export async function load() {
  const wanted = kind;
  try {
    const found = await get(`map/${wanted}`);
    if (wanted !== kind) return;
    if (found.state === "computing") {
      byId("map-state").textContent = wanted === "umap" ? "Computing the map: UMAP takes about a minute the first time" : "Computing the features of the images";
      setTimeout(() => !byId("view-map").hidden && load(), WAIT);
      return;
    }
    map = found.state === "ready" ? found : null;
    byId("map-state").textContent = map ? `${plural(found.x.filter((each) => each !== null).length, "image")}, by ${found.name}` : found.why;
  } catch (error) {
    map = null;
    byId("map-state").textContent = error.message;
  }
  draw();
}

function draw() {
  const { width, height } = canvas.parentElement.getBoundingClientRect();
  if (!width || byId("view-map").hidden) return;
  const ratio = devicePixelRatio;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  legend();
  if (!map) return;
  const side = Math.min(width, height) - 24;
  places = map.x.map((x, row) => (x === null ? null : [width / 2 + (x - 0.5) * side, height / 2 - (map.y[row] - 0.5) * side]));
  const shown = new Uint8Array(items.n);
  for (const row of state.view) shown[row] = 1;
  context.fillStyle = getComputedStyle(document.body).getPropertyValue("--faint");
  for (let row = 0; row < items.n; row += 1) if (!shown[row] && places[row]) context.fillRect(places[row][0] - 1, places[row][1] - 1, 2, 2);
  const radius = state.view.length > 4000 ? 2 : 3;
  for (const row of state.view) {
    if (!places[row]) continue;
    const [x, y] = places[row];
    context.fillStyle = colourOf(row);
    if (correct(state.a, row) === 0) cross(x, y, radius + 1);
    else {
      context.beginPath();
      context.arc(x, y, radius, 0, 2 * Math.PI);
      context.fill();
    }
  }
  if (hovered >= 0 && places[hovered]) ring(...places[hovered]);
  if (drag?.to) {
    context.strokeStyle = getComputedStyle(document.body).getPropertyValue("--link");
    context.lineWidth = 2;
    context.strokeRect(drag.from[0], drag.from[1], drag.to[0] - drag.from[0], drag.to[1] - drag.from[1]);
  }
}

function cross(x, y, radius) {
  context.strokeStyle = context.fillStyle;
  context.lineWidth = 1.6;
  context.beginPath();
  context.moveTo(x - radius, y - radius);
  context.lineTo(x + radius, y + radius);
  context.moveTo(x + radius, y - radius);
  context.lineTo(x - radius, y + radius);
  context.stroke();
}

function ring(x, y) {
  context.strokeStyle = getComputedStyle(document.body).getPropertyValue("--ink");
  context.lineWidth = 2;
  context.beginPath();
  context.arc(x, y, 7, 0, 2 * Math.PI);
  context.stroke();
}

function colourOf(row) {
  const how = COLOURINGS[colouring];
  if (how.value) {
    const value = how.value(row);
    return value === null || value === undefined ? "#999" : SCALE[Math.min(Math.floor(value * (SCALE.length - 1)), SCALE.length - 1)];
  }
  const index = how.index(row);
  return index < 0 ? "#999" : (how.colours ?? COLOURS)[index] ?? COLOURS.at(-1);
}

function legend() {
  const how = COLOURINGS[colouring];
  const swatch = (colour, text) => {
    const dot = el("span", { class: "dot", "aria-hidden": "true" });
    dot.style.background = colour;
    return el("span", {}, dot, text);
  };
  const names = how.names?.() ?? [];
  const used = new Set([...state.view].map((row) => how.index?.(row)));
  byId("legend").replaceChildren(
    ...names.flatMap((name, index) => (used.has(index) ? [swatch((how.colours ?? COLOURS)[index] ?? COLOURS.at(-1), name)] : [])),
    ...(how.none && used.has(-1) ? [swatch("#999", how.none)] : []),
    ...(how.value ? [swatch(SCALE[0], "usual"), swatch(SCALE.at(-1), "novel")] : []),
    ...(how.note ? [el("span", { class: "soft" }, how.note)] : []),
  );
}

function at(event) {
  const { left, top } = canvas.getBoundingClientRect();
  return [event.clientX - left, event.clientY - top];
}

function nearest([x, y]) {
  if (!places) return -1;
  let best = -1;
  let distance = NEAR ** 2;
  for (const row of state.view) {
    if (!places[row]) continue;
    const squared = (places[row][0] - x) ** 2 + (places[row][1] - y) ** 2;
    if (squared < distance) [best, distance] = [row, squared];
  }
  return best;
}

function hover(event) {
  if (drag) {
    drag.to = at(event);
    draw();
  } else show(nearest(at(event)));
}

function show(row) {
  if (row === hovered) return;
  hovered = row;
  const tip = byId("tip");
  tip.hidden = row < 0;
  if (row >= 0) {
    const [x, y] = places[row];
    tip.replaceChildren(el("img", { src: `thumbnail/${row}`, alt: "" }), el("span", {}, describe(row)));
    tip.style.left = `${Math.min(x + 12, Math.max(canvas.clientWidth - 232, 0))}px`;
    tip.style.top = `${y + 12}px`;
  }
  draw();
}

function press(event) {
  drag = { from: at(event), to: null };
  canvas.setPointerCapture(event.pointerId);
}

function release(event) {
  const { from, to } = drag ?? {};
  drag = null;
  if (!from) return;
  if (to && Math.hypot(to[0] - from[0], to[1] - from[1]) > NEAR) {
    const [left, right] = [Math.min(from[0], to[0]), Math.max(from[0], to[0])];
    const [top, bottom] = [Math.min(from[1], to[1]), Math.max(from[1], to[1])];
    const inside = [...state.view].filter((row) => places?.[row] && places[row][0] >= left && places[row][0] <= right && places[row][1] >= top && places[row][1] <= bottom);
    if (inside.length) setSeveral({ region: new Set(inside) });
    announce(`${number(inside.length)} images in the rectangle`);
  } else {
    const row = nearest(at(event));
    if (row >= 0) emit("open", row);
  }
  draw();
}

const DIRECTIONS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function keys(event) {
  if (event.key === "Enter" && hovered >= 0) emit("open", hovered);
  else if (event.key in DIRECTIONS && places) {
    const [dx, dy] = DIRECTIONS[event.key];
    const from = places[hovered] ?? [canvas.clientWidth / 2, canvas.clientHeight / 2];
    let best = -1;
    let least = Infinity;
    for (const row of state.view) {
      if (!places[row] || row === hovered) continue;
      const [x, y] = [places[row][0] - from[0], places[row][1] - from[1]];
      const along = x * dx + y * dy;
      const cost = along + 2 * Math.abs(x * dy - y * dx);
      if (along > 0.5 && cost < least) [best, least] = [row, cost];
    }
    if (best >= 0) {
      show(best);
      announce(describe(best));
    }
  } else return;
  event.preventDefault();
}
