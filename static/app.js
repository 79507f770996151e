// What a person does: answer, steer, move by keys. Everything is wired once on the document, so that rows which come
// in live need no wiring of their own. Loaded last; plain modern JavaScript, no build, nothing evaluated.
"use strict";

// A form that was just swapped in is not wired until it has settled. Sent by a quick key before that, the browser itself
// would send it: as GET, to a page, and the answer would be lost. Then it is wired now, and sent as it was meant.
const wired = new WeakSet();
document.addEventListener("htmx:afterProcessNode", (event) => wired.add(event.target));
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.matches("form[hx-post]") || wired.has(form)) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  wired.add(form);
  htmx.process(form);
  setTimeout(() => form.requestSubmit(event.submitter)); // not inside its own submission: there it is ignored
}, true);

// --- steering ------------------------------------------------------------------------------------------------------
function steerState() {
  const form = one("#steer");
  if (!form) return;
  const asked = one("[data-part=run-status]")?.dataset.approval || "";
  const mode = one("input[name=mode]:checked", form);
  say("steer-says", mode ? mode.dataset.says + (asked ? " Does not answer the open permission." : "") : "");
  form.dataset.asked = asked;
  if (!form.elements.client_id.value) form.elements.client_id.value = crypto.randomUUID?.() || `c-${Date.now()}-${Math.random()}`;
}
async function denyAndSay() {
  const form = one("#steer");
  const text = form.elements.text.value.trim();
  if (!text) { form.elements.text.focus(); return toast("Write what the agent should read first."); }
  const body = new URLSearchParams({ answer: "deny", reason: text });
  try {
    const answer = await fetch(`/inbox/${form.dataset.asked}/answer`, { method: "POST", headers: { ...csrf(), "HX-Request": "true" }, body });
    if (!answer.ok) return toast(reasonOf({ responseText: await answer.text(), status: answer.status }));
    form.elements.text.value = "";
    grow(form.elements.text);
    toast("Denied. The agent reads your words.");
  } catch { toast("No connection. Your words are still here, nothing was sent."); }
}
const grow = (area) => { area.rows = Math.min(6, Math.max(1, area.value.split("\n").length)); };

// --- tabs, jumps, dialogs ------------------------------------------------------------------------------------------
function showTab(name, focus) {
  const box = one("[data-tabs]");
  if (!box) return;
  box.dataset.tab = name;
  for (const tab of all("[role=tab]", box)) {
    const on = tab.dataset.tab === name;
    tab.setAttribute("aria-selected", String(on));
    tab.tabIndex = on ? 0 : -1;
    if (on && focus) tab.focus();
  }
}
const narrow = matchMedia("(max-width: 1180px)");
function fitTabs() {
  const box = one("[data-tabs]");
  if (box) showTab(narrow.matches ? "timeline" : box.dataset.tab === "timeline" ? "spend" : box.dataset.tab);
}
function jump(selector) {
  const box = scroller();
  const found = box ? all(selector, box) : [];
  if (!found.length) return toast("There is none in what is loaded.");
  const middle = box.getBoundingClientRect().top + box.clientHeight / 2 + 4;
  const next = found.find((node) => node.getBoundingClientRect().top > middle) || found[0];
  following = false;
  next.scrollIntoView({ block: "center" });
  (one("summary, a, button", next) || next).focus({ preventScroll: true });
  return showTail();
}
async function copy(node) {
  getSelection().selectAllChildren(node);
  // Away from localhost and without TLS a browser has no clipboard for pages: then it is marked, ready for the keys.
  try { await navigator.clipboard.writeText(node.textContent.trim()); toast("Copied."); } catch { toast("It is marked: copy it with Ctrl+C or the menu."); }
}
function openDialog(name) {
  const dialog = document.getElementById(name);
  if (dialog && !dialog.open) dialog.showModal();
}

// --- keys ----------------------------------------------------------------------------------------------------------
let chord = 0;
const rows = () => all(".list .it, .rt tbody .nm, #tl-scroll summary.ev").filter((node) => node.offsetParent);
function step(by) {
  const button = one(`[data-go=${by > 0 ? "j" : "k"}]`);
  const list = rows();
  const at = list.indexOf(document.activeElement);
  const current = at >= 0 ? at : list.findIndex((node) => node.getAttribute("aria-current") === "true");
  const next = list[current + by] || (current < 0 ? list[0] : null);
  if (one("#inbox-list") && next) { next.focus(); if (!narrow.matches) next.click(); return; }
  if (next) next.focus(); else if (button) button.click();
}
function keys(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || one("dialog[open]")) return;
  const inField = event.target.closest("input:not([type=radio]):not([type=checkbox]), textarea, select");
  if (event.key === "Escape" && event.target.closest(".panelbox")) { event.preventDefault(); panel(event.target, ""); return; }
  if (event.key === "Escape" && inField) { event.target.blur(); return; }
  if (inField) {
    if (event.key === "Enter" && !event.shiftKey && event.target.matches("#steer textarea")) { event.preventDefault(); event.target.form.requestSubmit(); }
    return;
  }
  const going = Date.now() - chord < 1000 ? { i: "/inbox", r: "/runs", b: "/blueprints", p: "/policies" }[event.key] : null;
  chord = event.key === "g" ? Date.now() : 0;
  if (going) { location.assign(going); return; }
  const actions = {
    j: () => step(1),
    k: () => step(-1),
    a: () => { const allow = one("[data-allow]"); if (allow?.offsetParent) { if (allow.disabled) toast("Scroll to the end of the payload first."); else allow.click(); } },
    d: () => all("[data-deny]").find((node) => node.offsetParent)?.click(),
    e: () => { const edit = all("[data-panel-open=edit]").find((node) => node.offsetParent); if (edit?.disabled) toast("Scroll to the end of the payload first."); else edit?.click(); },
    x: pickCurrent,
    A: openBulk,
    n: () => scroller() && jump(".ask[data-open]"),
    "/": () => (all("[data-filter], .nav .find input").find((node) => node.offsetParent) || one("#steer textarea"))?.focus(),
    "?": () => openDialog("keys"),
  };
  const action = actions[event.key];
  if (action && (!event.repeat || /[jk]/.test(event.key))) { event.preventDefault(); action(); }
}

// --- wiring --------------------------------------------------------------------------------------------------------
document.addEventListener("click", (event) => {
  const hit = (selector) => event.target.closest(selector);
  let node;
  if (hit("[data-theme-switch]")) setTheme(themes[(themes.indexOf(theme()) + 1) % 3]);
  else if ((node = hit("[data-dialog]"))) openDialog(node.dataset.dialog);
  else if ((node = hit("[data-panel-open]"))) panel(node, one(`.panelbox[data-panel="${node.dataset.panelOpen}"]`, boxOf(node)).hidden ? node.dataset.panelOpen : "");
  else if ((node = hit("[data-panel-close]"))) panel(node, "");
  else if ((node = hit("[data-sign-go]"))) signAndSend(node);
  else if (hit("[data-picking]")) picking();
  else if (hit("[data-pick-none]")) { picked.clear(); showPicked(); }
  else if (hit("[data-bulk-open]")) openBulk();
  else if ((node = hit("[data-dialog-close]"))) node.closest("dialog").close();
  else if ((node = hit("[data-hold-close]"))) node.closest(".hold").replaceChildren();
  else if (hit("[data-deny-say]")) denyAndSay();
  else if ((node = hit("[data-jump]"))) jump(node.dataset.jump);
  else if ((node = hit("[role=tab]"))) showTab(node.dataset.tab);
  else if ((node = hit("[data-copy]"))) copy(document.getElementById(node.dataset.copy));
  else if (hit("#new-rows")) toEnd();
  else if ((node = hit("dialog")) && node === event.target) node.close();
  for (const menu of all("details.menu[open], details.sure[open]")) if (!menu.contains(event.target)) menu.open = false;
});
document.addEventListener("keydown", keys);
document.addEventListener("keydown", (event) => {
  const tab = event.target.closest("[role=tab]");
  const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!tab || !by) return;
  const tabs = all("[role=tab]", tab.parentElement).filter((node) => node.offsetParent);
  showTab(tabs[(tabs.indexOf(tab) + by + tabs.length) % tabs.length].dataset.tab, true);
});
document.addEventListener("change", (event) => {
  if (event.target.matches("[data-theme-choice]")) setTheme(event.target.value);
  if (event.target.matches("#steer input[name=mode]")) steerState();
  if (event.target.matches("[data-pick]")) pick(event.target.dataset.pick, event.target.checked);
});
document.addEventListener("input", (event) => {
  if (event.target.matches("#steer textarea")) grow(event.target);
  const edit = event.target.closest(".panelbox[data-panel=edit]");
  if (edit) one("[data-edit-go]", edit).disabled = true;
});
document.addEventListener("htmx:beforeRequest", (event) => {
  if (event.target.closest(".olderbox")) { const box = scroller(); box.dataset.height = box.scrollHeight; box.dataset.top = box.scrollTop; }
});
document.addEventListener("htmx:beforeSwap", (event) => {
  // The socket may tell more of an answer before the answer itself comes back: the older word does not win.
  const foot = event.detail.target;
  const { xhr } = event.detail;
  // What was refused comes back as the card's foot, with everything that was typed.
  if (xhr.status >= 400 && xhr.status !== 401 && foot?.dataset?.foot && /^text\/html/.test(xhr.getResponseHeader("content-type") || "")) {
    event.detail.shouldSwap = true;
    event.detail.isError = false;
  }
  if (!foot?.dataset?.foot) return;
  if (event.detail.requestConfig?.verb === "get" && typing(foot)) { foot.dataset.stale = "1"; event.detail.shouldSwap = false; return; }
  const rank = Number(/data-rank="(\d)"/.exec(event.detail.xhr.responseText)?.[1]);
  if (!foot.isConnected || rank < Number(foot.dataset.rank)) event.detail.shouldSwap = false;
});
document.addEventListener("htmx:afterSwap", (event) => {
  const foot = event.detail.target?.dataset?.foot;
  if (foot) fate(one("[data-foot]"));
  if (event.detail.target?.id === "hold") held(event.detail.target);
  editState(event.detail.target);
  const box = scroller();
  if (box?.dataset.height && one("#older")) {
    box.scrollTop = box.scrollHeight - Number(box.dataset.height) + Number(box.dataset.top);
    delete box.dataset.height;
  }
  if (event.target.id === "card-pane" || event.detail.target?.id === "card-pane") one("main.inbox")?.classList.add("open");
  times();
  afterChange();
});
document.addEventListener("htmx:afterRequest", (event) => {
  const form = event.target.closest?.("form");
  if (!event.detail.successful || !form) return;
  if (form.id === "steer") { form.reset(); form.elements.client_id.value = ""; grow(form.elements.text); steerState(); }
  if ("resets" in form.dataset) { form.reset(); form.closest("details").open = false; }
  if (form.dataset.closes) document.getElementById(form.dataset.closes)?.close();
  if (form.matches(".ask .denybox")) { const box = form.closest(".ask"); form.hidden = true; box?.classList.remove("busy"); }
});
document.addEventListener("htmx:responseError", (event) => {
  if (event.detail.xhr.status === 401) live.signedOut(); else toast(reasonOf(event.detail.xhr));
});
document.addEventListener("htmx:beforeOnLoad", (event) => {
  // A fragment without a place on this page (the deny box in a timeline): its words still have to be read.
  if (event.detail.xhr.status === 409 && event.target.closest?.(".ask, #steer")) toast(reasonOf(event.detail.xhr));
});
document.addEventListener("htmx:sendError", () => toast("No connection. What you wrote is still here, nothing was sent."));
document.addEventListener("visibilitychange", () => { if (!document.hidden) { live.flush(); live.now(); times(); } });
addEventListener("online", () => live.now());
addEventListener("offline", () => { live.since ??= new Date(); live.show("offline"); });
addEventListener("pageshow", (event) => { if (event.persisted) live.now(); });

function start() {
  skew = Number(document.body.dataset.now || Date.now()) - Date.now();
  if (Math.abs(skew) < 5000) skew = 0;
  showTheme();
  fitTabs();
  narrow.addEventListener("change", fitTabs);
  times();
  setInterval(times, 10000);
  setInterval(() => all("[data-countdown]").forEach((node) => { node.textContent = Math.max(0, Number(node.textContent) - 1); }), 1000);
  steerState();
  gate();
  const box = scroller();
  if (box) {
    all("[data-saved]", box).slice(-20).forEach((row) => previews.saved("", row));
    box.addEventListener("scroll", () => {
      scrolled(box);
    }, { passive: true });
    const wanted = location.hash.startsWith("#seq-") && document.getElementById(location.hash.slice(1));
    if (wanted) { following = false; wanted.scrollIntoView({ block: "center" }); } else toEnd();
  }
  if (document.body.dataset.head !== undefined) {
    live.cursor = live.head = Number(document.body.dataset.head);
    live.open();
  }
}
start();
