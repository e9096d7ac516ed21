// One image: its probabilities, crop, heat map, copies, neighbours and marks.

import { byId, el, get, number, options, percent, picture, plural } from "./dom.js";
import { describe, emit, items, marksOf, on, path, state } from "./data.js";
import { step } from "./grid.js";
import { mark } from "./marks.js";

const WAIT = 1500; // milliseconds
let shown = -1;
let opener = null;

export function build() {
  on("open", open);
  on("marks", () => shown >= 0 && refreshMarks());
  byId("detail").addEventListener("keydown", (event) => {
    if (event.key === "Escape") close();
    else if (event.key === "[" || event.key === "]") step(shown, event.key === "[" ? -1 : 1);
  });
}

async function open(row) {
  const panel = byId("detail");
  if (shown < 0) opener = document.activeElement;
  shown = row;
  panel.hidden = false;
  document.body.classList.add("with-detail");
  const heading = el("h2", { tabindex: -1, id: "detail-title" }, items.file[row]);
  const large = picture(`image/${row}`, describe(row), { class: "large", onerror: (event) => event.target.replaceWith(el("p", { class: "missing" }, "The image is not on this machine as the run recorded it.")) });
  panel.replaceChildren(
    el("div", { class: "bar" },
      el("button", { type: "button", onclick: () => step(row, -1), "aria-label": "Previous image" }, "←"),
      el("button", { type: "button", onclick: () => step(row, 1), "aria-label": "Next image" }, "→"),
      el("button", { type: "button", onclick: close, class: "end" }, "Close")),
    heading,
    el("p", { class: "soft path" }, path(row)),
    el("figure", { id: "large" }, large),
    looks(row),
    el("p", { id: "look-state", role: "status" }),
    el("div", { id: "facts" }),
    marking(row),
    el("div", { id: "near" }),
  );
  refreshMarks();
  heading.focus({ preventScroll: true });
  panel.scrollTop = 0;
  try {
    const facts = await get(`image/${row}/facts`);
    if (shown === row) showFacts(row, facts);
  } catch (error) {
    byId("facts").textContent = error.message;
  }
}

function close() {
  shown = -1;
  byId("detail").hidden = true;
  document.body.classList.remove("with-detail");
  (opener?.isConnected ? opener : byId("grid")).focus({ preventScroll: true });
}

// Buttons that replace the large picture.
function looks(row) {
  const look = (text, address, alt) => el("button", { type: "button", onclick: (event) => replace(row, event.currentTarget, address(), alt()) }, text);
  const heat = (index) => `heat/${state.a}/${row}/${index}`;
  const predicted = items.runs[state.a].predicted[row];
  const buttons = [
    look("Photograph", () => `image/${row}`, () => describe(row)),
    look("Crop", () => `crop/${row}`, () => "The cell, cropped to its nucleus"),
    ...(predicted < 0 ? [] : [look(`Heat map for ${items.classes[predicted]}`, () => heat(predicted), () => `Where the model sees ${items.classes[predicted]}`)]),
    ...(predicted === items.label[row] ? [] : [look(`Heat map for ${items.classes[items.label[row]]}`, () => heat(items.label[row]), () => `Where the model sees ${items.classes[items.label[row]]}`)]),
    el("button", { type: "button", onclick: () => neighbours(row) }, "Neighbours"),
  ];
  return el("div", { class: "buttons" }, ...buttons);
}

async function replace(row, button, address, alt) {
  const status = byId("look-state");
  button.setAttribute("aria-busy", "true");
  status.textContent = address.startsWith("heat") ? "Computing the heat map: seconds for a network, up to half a minute for hand-made features" : "";
  try {
    const answer = await fetch(address);
    if (!answer.ok) throw new Error((await answer.text()).trim());
    await answer.blob(); // it is cached: the picture below is not asked for again
    if (shown !== row) return;
    byId("large").replaceChildren(picture(address, alt, { class: "large" }));
    status.textContent = alt;
  } catch (error) {
    status.textContent = error.message;
  } finally {
    button.removeAttribute("aria-busy");
  }
}

function showFacts(row, facts) {
  const noun = items.group_name;
  const rows = [
    ["label", facts.label],
    ["photograph", `${facts.photograph} (${plural(facts.n_copies + 1, "image")})`],
    ...(facts.group === facts.photograph ? [] : [[noun, facts.group]]),
  ];
  byId("facts").replaceChildren(
    el("dl", {}, ...rows.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)])),
    ...facts.runs.map((run, index) => probabilities(row, run, index)),
    ...(facts.copies.length ? [strip(`Copies of this photograph: ${number(facts.n_copies)}`, facts.copies.slice(0, 12))] : []),
  );
}

function probabilities(row, run, index) {
  const wanted = [state.a, state.b].includes(index);
  if (!wanted) return null;
  const where = [items.splits[items.runs[index].split[row]], run.fold === null ? null : `fold ${run.fold}`, run.evidence].filter(Boolean).join(", ");
  if (!run.probabilities) return el("section", {}, el("h3", {}, run.name), el("p", { class: "soft" }, where));
  const order = [...run.probabilities.keys()].sort((one, other) => run.probabilities[other] - run.probabilities[one]);
  const bars = order.map((each) => {
    const bar = el("span", { class: `bar-of ${each === items.label[row] ? "of-label" : ""}` });
    bar.style.width = `${100 * run.probabilities[each]}%`;
    return el("tr", {}, el("th", { scope: "row" }, items.classes[each], each === items.label[row] ? el("span", { class: "soft" }, " (label)") : null), el("td", { class: "number" }, percent(run.probabilities[each])), el("td", { class: "track", "aria-hidden": "true" }, bar));
  });
  return el("section", {}, el("h3", {}, run.name), el("p", { class: "soft" }, where), el("table", { class: "probabilities" }, el("caption", { class: "visually-hidden" }, "Probabilities"), el("tbody", {}, ...bars)));
}

function strip(title, rows) {
  const button = (row) => el("button", { type: "button", class: "small", "aria-label": describe(row), onclick: () => emit("open", row) }, el("img", { src: `thumbnail/${row}`, alt: "", loading: "lazy" }), el("span", { "aria-hidden": "true" }, items.classes[items.label[row]]));
  return el("section", {}, el("h3", {}, title), el("div", { class: "strip" }, ...rows.map(button)));
}

async function neighbours(row) {
  const place = byId("near");
  try {
    const found = await get(`image/${row}/neighbours`);
    if (shown !== row) return;
    if (found.state === "computing") {
      place.replaceChildren(el("p", { role: "status" }, "Computing the features of the images"));
      setTimeout(() => shown === row && neighbours(row), WAIT);
    } else if (found.state === "ready") place.replaceChildren(strip(`Nearest other photographs, by ${found.name}`, found.rows));
    else place.replaceChildren(el("p", {}, found.why));
  } catch (error) {
    place.textContent = error.message;
  }
}

function marking(row) {
  const copies = items.copies[items.source.index[row]];
  const label = el("select", { "aria-label": "The right label" });
  options(label, [["", "unknown which is right"], ...items.classes.filter((_, index) => index !== items.label[row]).map((name) => [name, `it is ${name}`])]);
  const all = el("input", { type: "checkbox", id: "all-copies", checked: true });
  const act = (kind, text, value) => el("button", { type: "button", onclick: () => mark(kind, [row], { label: value?.() ?? "", withCopies: all.checked }) }, text);
  return el("section", {},
    el("h3", {}, "Marks"),
    el("p", { id: "own-marks" }),
    el("div", { class: "buttons" }, label, act("label wrong", "Label wrong", () => label.value), act("not a cell", "Not a cell"), act("remove", "Remove marks")),
    ...(copies > 1 ? [el("label", { class: "inline", for: "all-copies" }, all, `and its ${plural(copies - 1, "other copy").replace(/copys$/, "copies")}`)] : []));
}

function refreshMarks() {
  const place = byId("own-marks");
  if (place) place.textContent = marksOf(shown).join("; ") || "None";
}
