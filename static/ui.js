// Small things that both live.js and app.js use: finding nodes, the theme, times, short messages. Loaded first.
"use strict";

const one = (selector, root = document) => root.querySelector(selector);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const bound = (name) => all(`[data-bind="${name}"]`);
const say = (name, words) => bound(name).forEach((node) => (node.textContent = words));
const csrf = () => JSON.parse(document.body.getAttribute("hx-headers") || "{}");
const pad = (number) => String(number).padStart(2, "0");
const hhmm = (date) => `${pad(date.getHours())}:${pad(date.getMinutes())}`;
const clockOf = (date, seconds) => (seconds ? `${hhmm(date)}:${pad(date.getSeconds())}` : hhmm(date));

// --- theme ---------------------------------------------------------------------------------------------------------
const themes = ["system", "light", "dark"];
const theme = () => document.documentElement.dataset.theme || "system";
function setTheme(next) {
  if (next === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = next;
  try { next === "system" ? localStorage.removeItem("helm-theme") : localStorage.setItem("helm-theme", next); } catch { /* private mode: for this page only */ }
  showTheme();
}
function showTheme() {
  // The browser's own bar follows a chosen theme too, not only the system's.
  for (const meta of all('meta[name="theme-color"]')) {
    meta.dataset.own ??= meta.content;
    const other = all('meta[name="theme-color"]').find((one) => one.media.includes(theme()));
    meta.content = other ? other.dataset.own ?? other.content : meta.dataset.own;
  }
  for (const button of all("[data-theme-switch]")) {
    button.title = `Theme: ${theme()}`;
    button.setAttribute("aria-label", button.title);
  }
  for (const choice of all("[data-theme-choice]")) choice.checked = choice.value === theme();
}

// --- times: the words of app/web/text.py, in the reader's own zone ---------------------------------------------------
function span(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const minutes = Math.floor(seconds / 60);
  const hours = Math.floor(minutes / 60);
  if (seconds < 60) return `${seconds} s`;
  if (minutes < 60) return `${minutes} min`;
  if (hours < 24) return minutes % 60 && hours < 10 ? `${hours} h ${pad(minutes % 60)}` : `${hours} h`;
  return `${Math.floor(hours / 24)} d`;
}
function times(root = document) {
  const now = Date.now() + skew;
  for (const node of all("time[data-t]", root)) {
    const date = new Date(node.dateTime);
    const ahead = date - now;
    const kind = node.dataset.t;
    const words = kind === "ago" ? (ahead > -1000 ? "now" : `${span(-ahead)} ago`)
      : kind === "left" ? (ahead > 0 ? `${span(ahead)} left` : "expired")
      : kind === "in" ? span(ahead) : kind === "clock" ? hhmm(date) : node.textContent;
    if (node.textContent !== words) node.textContent = words;
    if (!node.dataset.local) { node.title = date.toLocaleString(); node.dataset.local = "1"; }
  }
  for (const node of all("text[data-ms]", root)) node.textContent = clockOf(new Date(Number(node.dataset.ms)), "s" in node.dataset);
}
// A wrong clock on this machine must not turn "49 min left" into "expired": times are told by the server's clock.
let skew = 0;

// --- small messages ------------------------------------------------------------------------------------------------
let toastTimer = 0;
function toast(words) {
  const node = one("#toast");
  if (!node) return;
  node.textContent = words;
  node.hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => (node.hidden = true), 6000);
}
function announce(words) {
  // For ears only. One region that stays: a region that is swapped in with its words is often not read.
  const node = one("#say");
  if (node && words) node.textContent = words;
}
function reasonOf(request) {
  try { return JSON.parse(request.responseText).error.message; } catch { /* not JSON: a fragment or nothing */ }
  const page = new DOMParser().parseFromString(request.responseText || "", "text/html");
  return one(".says span", page)?.textContent.trim() || `The server answered ${request.status}. Nothing was changed.`;
}
function setBadge(count) {
  for (const node of bound("badge")) { node.textContent = count; node.hidden = count === "0"; }
  document.title = document.title.replace(/^\(\d+\) /, "").replace(/^/, count === "0" ? "" : `(${count}) `);
}
