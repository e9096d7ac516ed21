// The page: load the images, then build each part.

import { byId, el, options } from "./dom.js";
import { emit, items, load, state } from "./data.js";
import * as agreement from "./agreement.js";
import * as confusion from "./confusion.js";
import * as detail from "./detail.js";
import * as filters from "./filters.js";
import * as grid from "./grid.js";
import * as map from "./map.js";
import * as marks from "./marks.js";
import * as reader from "./reader.js";
import * as reliability from "./reliability.js";

const VIEWS = ["images", "map", "reader"];
const NARROW = matchMedia("(max-width: 900px)");

async function start() {
  try {
    await load();
  } catch (error) {
    byId("count").textContent = `The images cannot be loaded: ${error.message}`;
    return;
  }
  byId("filter-box").open = !NARROW.matches;
  buildRuns();
  buildTabs();
  filters.build();
  filters.buildSort();
  grid.build();
  filters.apply();
  performance.mark("images");
  requestAnimationFrame(() => setTimeout(rest)); // after the first paint
}

async function rest() {
  for (const part of [agreement, confusion, reliability, map, detail, reader]) part.build();
  await marks.build();
}

function buildRuns() {
  const names = items.runs.map((run, index) => [String(index), run.name]);
  options(byId("run-a"), names, String(state.a));
  options(byId("run-b"), [["-1", "no other run"], ...names], String(state.b));
  byId("run-b").parentElement.hidden = items.runs.length < 2;
  for (const [id, key] of [["run-a", "a"], ["run-b", "b"]]) {
    byId(id).addEventListener("change", () => {
      state[key] = Number(byId(id).value);
      if (state.b === state.a) state.b = -1;
      byId("run-b").value = String(state.b);
      if (state.b < 0) delete state.filters.agreement;
      limits();
      filters.apply();
      emit("runs");
    });
  }
  limits();
}

// What limits the runs, as everywhere in bloodcell, and notes on the images.
function limits() {
  const lines = [state.a, state.b].filter((index) => index >= 0).flatMap((index) => items.runs[index].limits.map((limit) => `${items.runs[index].name} ${limit.why}.`));
  const place = byId("limits");
  place.hidden = !lines.length && !items.notes.length;
  place.replaceChildren(el("details", {}, el("summary", {}, `What to know of these runs (${lines.length + items.notes.length})`), el("ul", {}, ...[...lines, ...items.notes].map((line) => el("li", {}, line)))));
}

function buildTabs() {
  const tabs = VIEWS.map((name) => byId(`tab-${name}`));
  const choose = (index, focus) => {
    tabs.forEach((tab, each) => {
      tab.setAttribute("aria-selected", each === index ? "true" : "false");
      tab.tabIndex = each === index ? 0 : -1;
      byId(`view-${VIEWS[each]}`).hidden = each !== index;
    });
    document.body.dataset.view = VIEWS[index];
    if (focus) tabs[index].focus();
    if (VIEWS[index] === "map") map.load();
    else if (VIEWS[index] === "images") emit("runs"); // its size may have changed
  };
  tabs.forEach((tab, index) => {
    tab.addEventListener("click", () => choose(index, false));
    tab.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (by) choose((index + by + tabs.length) % tabs.length, true);
    });
  });
  document.body.dataset.view = "images";
}

start();
