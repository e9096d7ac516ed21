// The second reader: photographs without their labels, answered by keys, against the clock.

import { announce, byId, el, plural, post } from "./dom.js";
import { items } from "./data.js";
import { setSeveral } from "./filters.js";
import { mark } from "./marks.js";

let reading = null;
let place = 0;
let ends = 0;
let ticking = 0;
let over = false;

export function build() {
  intro();
  document.addEventListener("keydown", (event) => {
    if (byId("view-reader").hidden || !reading || over || event.ctrlKey || event.metaKey || event.altKey) return;
    const index = "123456789".indexOf(event.key);
    if (index >= 0 && index < reading.classes.length) answer(index);
    else if (event.key === "0") answer("unsure");
    else if (event.key === "-") answer("not a cell");
    else if (event.key === "Backspace" && place > 0) {
      place -= 1;
      show();
    } else return;
    event.preventDefault();
  });
}

function intro(problem = "") {
  byId("view-reader").replaceChildren(
    el("div", { class: "prose" },
      el("h2", {}, "Second reader: five minutes"),
      el("p", {}, "You see photographs and say what they are. Labels, predictions and names are hidden. Most are photographs whose label the held-out predictions dispute, the others are controls, and they are mixed."),
      el("p", {}, "At the end: which labels you reject, and how accurate a model can be at most on labels with so many errors. Every answer is kept in the folder of your marks."),
      el("p", { role: "status" }, problem),
      el("button", { type: "button", class: "primary", onclick: start }, "Start")),
  );
}

async function start() {
  try {
    reading = await post("reader", { do: "start" });
  } catch (error) {
    intro(error.message);
    return;
  }
  place = 0;
  over = false;
  ends = performance.now() + 1000 * reading.seconds;
  clearInterval(ticking);
  ticking = setInterval(tick, 500);
  const key = (value, name, letter) => el("button", { type: "button", class: "answer", onclick: () => answer(value) }, el("kbd", {}, letter), ` ${name}`);
  byId("view-reader").replaceChildren(
    el("div", { class: "bar" }, el("p", { id: "reader-place", role: "status" }), el("p", { id: "clock" }), el("button", { type: "button", class: "end", onclick: finish }, "Finish now")),
    el("figure", { class: "reader" }, el("img", { id: "reader-image", alt: "A photograph to classify", tabindex: -1 })),
    el("div", { class: "answers", role: "group", "aria-label": "What is it?" },
      ...reading.classes.map((name, index) => key(index, name, index < 9 ? String(index + 1) : "")), key("not a cell", "not a cell", "-"), key("unsure", "cannot tell", "0")),
    el("p", { class: "soft" }, "Backspace goes back to the photograph before."),
    el("p", { id: "reader-problem", role: "alert" }),
  );
  show();
}

function show() {
  const image = byId("reader-image");
  image.src = `reader/${reading.id}/${place}`;
  image.focus({ preventScroll: true });
  byId("reader-place").textContent = `Photograph ${place + 1} of ${reading.n}`;
  if (place + 1 < reading.n) new Image().src = `reader/${reading.id}/${place + 1}`;
}

async function answer(value) {
  const number = place;
  try {
    await post("reader", { do: "answer", id: reading.id, number, answer: value });
  } catch (error) {
    byId("reader-problem").textContent = error.message;
    return;
  }
  if (number !== place || over) return;
  if (place + 1 < reading.n) {
    place += 1;
    show();
  } else await finish();
}

function tick() {
  const left = Math.max(ends - performance.now(), 0) / 1000;
  const clock = byId("clock");
  if (clock) clock.textContent = left ? `${Math.floor(left / 60)}:${String(Math.floor(left % 60)).padStart(2, "0")} left` : "Time is up; you may go on";
  if (!left) clearInterval(ticking);
}

async function finish() {
  clearInterval(ticking);
  over = true;
  let found;
  try {
    found = await post("reader", { do: "result", id: reading.id });
  } catch (error) {
    intro(error.message);
    return;
  }
  const rejected = found.shown.filter((each) => each.rejected);
  const named = (value) => (typeof value === "number" ? items.classes[value] : value);
  const heading = el("h2", { tabindex: -1 }, "What you found");
  const rows = found.shown.map((each) => el("tr", { class: each.rejected ? "rejected" : "" },
    el("td", {}, el("img", { src: `thumbnail/${each.row}`, alt: "", width: 96 })),
    el("td", {}, named(each.answer)), el("td", {}, items.classes[each.label]), el("td", {}, items.classes[each.predicted]),
    el("td", {}, each.rejected ? "label rejected" : each.answer === "unsure" ? "not judged" : "label kept", each.control ? " (control)" : "")));
  const shownRows = { set: new Set(found.shown.map((each) => each.row)), text: "Second reader" };
  byId("view-reader").replaceChildren(
    el("div", { class: "prose" }, heading, ...found.sentences.map((sentence, index) => el("p", { class: index === 1 ? "strong" : "" }, sentence)),
      el("div", { class: "buttons" },
        el("button", { type: "button", disabled: !rejected.length, onclick: (event) => markAll(rejected, event.currentTarget) }, `Mark the ${plural(rejected.length, "rejected label")}`),
        el("button", { type: "button", onclick: () => { setSeveral({ rows: shownRows }); byId("tab-images").click(); } }, "Show these images"),
        el("button", { type: "button", onclick: () => intro() }, "Read others"))),
    el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Answers" },
      el("table", { class: "answers-table" }, el("thead", {}, el("tr", {}, ...["photograph", "you", "label", "predicted", "result"].map((name) => el("th", { scope: "col" }, name)))), el("tbody", {}, ...rows))),
  );
  heading.focus();
  announce(found.sentences.join(" "));
}

async function markAll(rejected, button) {
  button.disabled = true;
  for (const each of rejected) {
    const isClass = typeof each.answer === "number";
    if (isClass || each.answer === "not a cell") await mark(isClass ? "label wrong" : "not a cell", [each.row], { label: isClass ? items.classes[each.answer] : "" });
  }
}
