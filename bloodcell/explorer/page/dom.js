// Elements, requests to the server, and announcements for screen readers.

export function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "class") made.className = value;
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

export const byId = (id) => document.getElementById(id);

export async function get(path) {
  return read(await fetch(path));
}

export async function post(path, body = {}) {
  const headers = { "content-type": "application/json" };
  return read(await fetch(path, { method: "POST", headers, body: JSON.stringify(body) }));
}

async function read(answer) {
  if (!answer.ok) throw new Error((await answer.text()).trim());
  return answer.json();
}

// Text that a screen reader says; the same text twice is said twice.
export function announce(text) {
  const live = byId("live");
  live.textContent = live.textContent === text ? `${text} ` : text;
}

export const number = (value) => value.toLocaleString("en");
export const percent = (value, digits = 1) => `${(100 * value).toFixed(digits)} %`;
export const plural = (count, noun) => `${number(count)} ${noun}${count === 1 ? "" : "s"}`;

export function options(select, entries, chosen) {
  select.replaceChildren(...entries.map(([value, text]) => el("option", { value, selected: value === chosen }, text)));
}

// A picture that can be missing: its alternative text stays.
export function picture(src, alt, attributes = {}) {
  return el("img", { src, alt, decoding: "async", ...attributes });
}
