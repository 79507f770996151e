// Answering: the forms of a card's foot, a signature with a passkey, several answers at once. Loaded before app.js, which
// wires it.
"use strict";

// --- the card: Allow only after the end of the payload was on screen --------------------------------------------------
let watcher = null;
function gate() {
  const foot = one("[data-foot]");
  const gated = foot ? all("[data-gated]", foot) : [];
  const end = one("[data-payload-end]");
  if (!gated.length || !end || !gated.some((button) => button.disabled) || end.dataset.watched) { if (end?.dataset.seen) openGate(foot); return; }
  end.dataset.watched = "1";
  watcher?.disconnect();
  watcher = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting && entry.intersectionRatio >= 0.9)) return;
    end.dataset.seen = "1";
    watcher.disconnect();
    openGate(one("[data-foot]"));
  }, { root: one("[data-card-scroll]"), threshold: [0.9, 1] });
  watcher.observe(end);
}
function openGate(foot) {
  if (!foot || foot.dataset.seen) return;
  for (const button of all("[data-gated]", foot)) button.disabled = false;
  foot.dataset.seen = "1";
}

// --- the forms under the buttons -----------------------------------------------------------------------------------
const boxOf = (node) => node.closest(".acts, .ask");
function panel(node, name) {
  const box = boxOf(node);
  for (const form of all(".panelbox", box)) form.hidden = form.dataset.panel !== name;
  for (const button of all("[data-panel-open]", box)) button.setAttribute("aria-expanded", String(button.dataset.panelOpen === name));
  box.classList.toggle("busy", Boolean(name));
  const menu = one("details.menu[open]", box);
  if (menu) menu.open = false;
  const form = name && one(`.panelbox[data-panel="${name}"]`, box);
  if (form) {
    const counted = one("[data-on-open]", form);
    if (counted) window.htmx?.trigger(counted, "opened");
    (one("input:not([type=hidden]):not([type=radio]), textarea", form) || one("select", form))?.focus();
    return;
  }
  (all("[data-panel-open]", box).find((button) => button.offsetParent) || one("button, summary", box))?.focus();
  if (box.dataset.stale) { delete box.dataset.stale; window.htmx?.trigger(box, "refresh"); }
}
const typing = (box) => Boolean(box && one(".panelbox:not([hidden])", box));
function editState(target) {
  // The button that sends an edited call is open only while what it sends is what stands beside the asked one.
  const form = target.closest?.(".panelbox[data-panel=edit]");
  if (!form) return;
  one("[data-edit-go]", form).disabled = !one("input[name=shown]", form)?.value;
}
async function signAndSend(button) {
  const form = button.closest("form");
  const sign = window.helmPasskey?.sign;
  if (!sign) return toast("This browser has no passkeys here. Sign it in a terminal: the line stands on the card.");
  button.disabled = true;
  try {
    const answer = await fetch(form.dataset.sign, { method: "POST", headers: { ...csrf(), "HX-Request": "true" }, body: new URLSearchParams({ answer: form.elements.answer.value }) });
    if (!answer.ok) return toast(reasonOf({ responseText: await answer.text(), status: answer.status }));
    const { statement, at } = await answer.json();
    const proof = await sign(statement);
    form.elements.proof_type.value = proof.type;
    form.elements.proof_data.value = proof.data;
    form.elements.at.value = at;
    window.htmx.trigger(form, "signed");
  } catch (error) {
    toast(error?.name === "NotAllowedError" ? "Not signed, so nothing was answered." : `It could not be signed: ${error?.message || "no reason was given"}`);
  } finally { button.disabled = false; }
  return undefined;
}

// --- several at once -----------------------------------------------------------------------------------------------
const picked = new Set();
function showPicked() {
  const boxes = all("[data-pick]");
  for (const key of [...picked]) if (!boxes.some((box) => box.dataset.pick === key)) picked.delete(key);
  for (const box of boxes) {
    box.checked = picked.has(box.dataset.pick);
    box.closest(".itw").classList.toggle("picked", box.checked);
  }
  const bar = one("#pickbar");
  if (!bar) return;
  bar.hidden = !picked.size;
  say("picked", `${picked.size} selected`);
}
function pick(key, on = !picked.has(key)) {
  if (on) picked.add(key); else picked.delete(key);
  showPicked();
}
function pickCurrent() {
  const list = one("#inbox-list");
  if (!list) return;
  const item = document.activeElement?.closest?.("#inbox-list .it") || one(".it[aria-current=true]", list);
  const box = item && one("[data-pick]", item.parentElement);
  if (box) pick(box.dataset.pick); else toast("This one is answered by itself.");
}
function picking(on = !one("main.inbox").classList.contains("picking")) {
  one("main.inbox").classList.toggle("picking", on);
  for (const button of all("[data-picking]")) {
    button.setAttribute("aria-pressed", String(on));
    if (button.matches(".only-phone")) button.textContent = on ? "Done" : "Select";
  }
  if (!on) { picked.clear(); showPicked(); }
}
function openBulk() {
  if (!one("#bulk")) return;
  if (!picked.size) return toast("Select some first: x selects.");
  const rows = all("#inbox-list .itw.picked");
  one("#bulk-list").replaceChildren(...rows.map((row) => {
    const line = document.createElement("li");
    const words = (selector) => one(selector, row)?.textContent.trim() || "";
    for (const [name, text] of [["b", words(".tt")], ["span", words(".l2")], ["code", one("[data-pick]", row).dataset.pick]]) {
      const part = document.createElement(name);
      part.textContent = text;
      line.append(part);
    }
    return line;
  }));
  for (const field of all("#bulk input[name=ids]")) field.value = [...picked].join(" ");
  say("bulk-n", String(picked.size));
  openDialog("bulk");
  return undefined;
}
function held(hold) {
  const bar = one(".holdbar", hold);
  if (bar?.dataset.hold) picking(false);
  const fades = Number(bar?.dataset.fades);
  if (fades) setTimeout(() => { if (bar.isConnected) hold.replaceChildren(); }, fades);
}
