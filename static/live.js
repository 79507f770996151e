// The live side of the dashboard. The log is the truth: ops are applied in order, each exactly once, and what is on
// screen is never cleared because a line is down. Loaded after ui.js, started by app.js.
"use strict";

// --- the timeline: follow the tail only at its end, keep the page light -----------------------------------------------
const scroller = () => one("#tl-scroll");
const MOST_ROWS = 300;
const CHUNK = 100;
let following = true;
let unseen = 0;
const atEnd = (box) => box.scrollHeight - box.scrollTop - box.clientHeight < 48;
function showTail() {
  say("tail", following ? "Following the tail" : "Not following");
  const pill = one("#new-rows");
  if (!pill) return;
  pill.hidden = following || unseen === 0;
  say("new-rows", `${unseen} new`);
}
let last = { top: 0, height: 0 };
function scrolled(box) {
  // Only a person scrolling up stops the following: rows that are measured late also move the box, and shrink it.
  if (atEnd(box)) { following = true; unseen = 0; }
  else if (box.scrollTop < last.top - 2 && box.scrollHeight >= last.height) following = false;
  last = { top: box.scrollTop, height: box.scrollHeight };
  showTail();
}
function toEnd() {
  const box = scroller();
  if (!box) return;
  box.scrollTop = box.scrollHeight;
  following = true;
  unseen = 0;
  showTail();
}
function fold(list) {
  // Old rows leave the live list in blocks, so that a new row costs the same after 5,000 as after 50.
  while (list.dataset.cap && list.children.length > MOST_ROWS + CHUNK) {
    const chunk = document.createElement("ol");
    chunk.className = "chunk";
    chunk.append(...[...list.children].slice(list.firstElementChild.matches(".folded") ? 1 : 0).slice(0, CHUNK));
    if (list.id === "timeline-live") { list.before(chunk); continue; }
    let box = one(":scope > .folded", list);
    if (!box) { box = document.createElement("li"); box.className = "folded"; list.prepend(box); }
    box.append(chunk);
  }
}

// --- previews: words on their way ------------------------------------------------------------------------------------
// They come on a lane of their own, before or after the event that saves them: what decides is how many characters of a
// message were written and how many of them are saved. A message that nobody goes on with leaves by itself.
const previews = {
  lanes: new Map(), kept: new Map(),

  node(lane) {
    if (!lane) return one("#preview");
    const list = document.getElementById(`lane-${lane}`);
    const next = list?.nextElementSibling;
    if (!list || next?.matches(".preview")) return next;
    const made = document.createElement("div");
    made.className = "preview";
    made.setAttribute("aria-hidden", "true");
    list.after(made);
    return made;
  },

  take({ lane = "", message = "", text }) {
    let piece = this.lanes.get(lane);
    if (piece?.message !== message) piece = { message, written: 0, tail: "", timer: 0 };
    this.lanes.set(lane, piece);
    piece.written += text.length;
    piece.tail = (piece.tail + text).slice(-4000);
    clearTimeout(piece.timer);
    piece.timer = setTimeout(() => this.clear(lane), 30000);
    this.show(lane, piece);
  },

  show(lane, piece) {
    const node = this.node(lane);
    if (!node) return;
    const open = Math.max(0, piece.written - (this.kept.get(piece.message) || 0));
    node.textContent = open ? piece.tail.slice(-open) : "";
    node.hidden = !node.textContent.trim();
  },

  saved(list, row) {
    const message = row.dataset.saved;
    const lane = list.startsWith("lane-") ? list.slice(5) : "";
    if (message) this.kept.set(message, (this.kept.get(message) || 0) + Number(row.dataset.units));
    if (this.kept.size > 64) this.kept.delete(this.kept.keys().next().value);
    const piece = this.lanes.get(lane);
    if (piece && !message) this.clear(lane);
    else if (piece?.message === message) this.show(lane, piece);
  },

  clear(only) {
    for (const [lane, piece] of this.lanes) {
      if (only !== undefined && lane !== only) continue;
      clearTimeout(piece.timer);
      this.lanes.delete(lane);
      const node = this.node(lane);
      if (node) { node.textContent = ""; node.hidden = true; }
    }
  },
};

// --- ops -----------------------------------------------------------------------------------------------------------
function parse(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  return template.content;
}
function targets(selector) {
  try { return all(selector); } catch { return []; }
}
const wake = (node) => { window.htmx?.process(node); times(node); };
function swap(old, html) {
  const fresh = parse(html).firstElementChild;
  if (!fresh) return;
  const open = one(":scope > details[open]", old);
  if (old.dataset.part && old.outerHTML === fresh.outerHTML) return; // nothing moved, nothing to read out again
  if (typing(old) && one(".panelbox", fresh)) return; // still open for an answer: do not take the words from under the pen
  if (Number(fresh.dataset.rank) < Number(old.dataset.rank)) return; // an answer goes only forward
  old.replaceWith(fresh);
  wake(fresh);
  fate(fresh);
  if (open) { const details = one(":scope > details", fresh); if (details) details.open = true; }
}
function fate(foot) {
  if (!foot?.matches("[data-foot]")) return;
  const parts = [one(".fate > span", foot), all(".steps .on", foot).at(-1)];
  announce(parts.map((node) => node?.textContent.trim()).filter(Boolean).join(", "));
}
const apply = {
  append({ target, html }) {
    const list = targets(target).at(-1);
    if (!list) return;
    for (const fresh of [...parse(html).children]) {
      const there = fresh.id && document.getElementById(fresh.id);
      if (there?.dataset.kind === "lane") continue; // its lines are in it already
      if (there) { there.replaceWith(fresh); wake(fresh); continue; }
      fresh.classList.add("new");
      list.append(fresh);
      wake(fresh);
      if (fresh.matches("[data-saved]")) previews.saved(list.id, fresh);
      if (fresh.matches(".turn, .endrow")) previews.clear();
      if (!following && list.closest("#tl-scroll")) unseen += 1;
    }
    one("#no-rows")?.remove();
    fold(list);
  },
  replace({ target, html }) {
    const found = targets(target);
    found.forEach((old) => swap(old, html));
    if (!found.length && target.startsWith("#run-")) apply.refresh({ target: "#runs-body" });
  },
  text({ target, text }) {
    if (target === "#badge") { setBadge(String(text)); return; }
    for (const node of [...targets(target), ...bound(target.slice(1))]) node.textContent = text;
  },
  preview(op) { previews.take(op); },
  refresh({ target }) {
    for (const node of targets(target)) {
      if (node.dataset.due) continue;
      node.dataset.due = "1";
      setTimeout(() => { delete node.dataset.due; window.htmx?.trigger(node, "refresh"); }, 300);
    }
  },
};

// --- the socket ----------------------------------------------------------------------------------------------------
const live = {
  cursor: 0, head: 0, state: "wait", since: null, socket: null, tries: 0, timer: 0, frames: [], due: false, notice: 0,

  show(state) {
    // Ears hear that the line came back, not every event's number; that it went is told by the banner.
    if (state === "live" && this.state === "offline") announce("Live again");
    this.state = state;
    const words = state === "live" ? `live · caught up (${this.cursor})`
      : state === "replaying" ? `replaying ${this.cursor} › ${this.head}`
      : state === "offline" ? `offline since ${hhmm(this.since)}` : "connecting";
    for (const node of bound("sync")) {
      // The foot of the nav has room for half of it.
      node.textContent = node.closest(".foot") && state === "live" ? `live · at ${this.cursor}` : words;
      node.title = words;
      node.dataset.state = state;
    }
    const banner = one("#offline");
    if (this.since) say("offline-since", hhmm(this.since));
    clearTimeout(this.notice);
    if (!banner) return;
    // A blink of the line moves nothing on the page: the chip says it, the banner comes when it lasts.
    if (state === "offline") this.notice = setTimeout(() => { banner.hidden = false; }, 2000);
    else banner.hidden = true;
  },

  async open() {
    clearTimeout(this.timer);
    if (this.socket) return;
    this.socket = "opening";
    try {
      const answer = await fetch("/live/ticket", { method: "POST", headers: csrf(), credentials: "same-origin" });
      if (answer.status === 401) return this.signedOut();
      if (!answer.ok) throw new Error(`ticket ${answer.status}`);
      const { ticket } = await answer.json();
      const query = new URLSearchParams({ ticket, after: this.cursor, run: document.body.dataset.run || "", as: "html" });
      const scheme = location.protocol === "https:" ? "wss" : "ws";
      const socket = new WebSocket(`${scheme}://${location.host}/live?${query}`);
      this.socket = socket;
      socket.onmessage = (message) => this.take(message.data);
      socket.onopen = () => { this.tries = 0; previews.clear(); };
      socket.onclose = (event) => this.closed(event.code);
    } catch {
      this.closed(0);
    }
  },

  signedOut() { location.assign(`/login?next=${encodeURIComponent(location.pathname + location.search)}`); },

  closed(code) {
    this.socket = null;
    if (code === 4401) return this.signedOut();
    this.flush();
    this.since ??= new Date();
    if (this.tries > 0 || !navigator.onLine || this.state === "live") this.show("offline");
    const wait = Math.min(15000, 250 * 2 ** Math.min(this.tries, 6)) * (0.5 + Math.random());
    this.tries += 1;
    this.timer = setTimeout(() => this.open(), wait);
  },

  now() {
    // Waking up: do not sit out the rest of a long pause.
    if (!this.socket) { this.tries = 0; this.open(); }
  },

  take(data) {
    let frame;
    try { frame = JSON.parse(data); } catch { return; }
    this.frames.push(frame);
    if (this.due) return;
    this.due = true;
    // A hidden page gets no animation frames, and must still count and tell.
    if (document.hidden) setTimeout(() => this.flush(), 200);
    else requestAnimationFrame(() => this.flush());
  },

  flush() {
    this.due = false;
    const frames = this.frames.splice(0);
    if (!frames.length) return;
    for (const frame of frames) {
      const old = typeof frame.after === "number" && frame.after <= this.cursor;
      for (const op of frame.ops || []) {
        if (old && op.op !== "preview") continue;
        apply[op.op]?.(op);
      }
      if (!old && typeof frame.after === "number") this.cursor = frame.after;
      if (typeof frame.head === "number") this.head = Math.max(this.head, frame.head);
      if (frame.sync) this.next = frame.sync;
    }
    this.since = null;
    this.show(this.next === "replaying" && this.cursor < this.head ? "replaying" : "live");
    if (following) { toEnd(); requestAnimationFrame(() => { if (following) toEnd(); }); } else showTail();
    afterChange();
  },
};

function afterChange() {
  steerState();
  gate();
  showPicked();
  const key = one("[data-card]")?.dataset.card;
  for (const item of all("#inbox-list .it")) {
    if (item.dataset.key === key) item.setAttribute("aria-current", "true"); else item.removeAttribute("aria-current");
  }
}
