// The editor of a policy: one text per file, line numbers beside it, a mark on the lines that the check complains of.
"use strict";

const LINE = 18;
function gutter(area) {
  const box = area.previousElementSibling;
  const count = area.value.split("\n").length;
  if (Number(box.dataset.count) !== count) {
    box.dataset.count = count;
    box.replaceChildren(...Array.from({ length: count }, (_, at) => {
      const line = document.createElement("span");
      line.textContent = at + 1;
      return line;
    }));
  }
  box.scrollTop = area.scrollTop;
}
function marks() {
  for (const line of all(".gutter .wrong")) line.classList.remove("wrong");
  for (const finding of all("#trial [data-line]")) {
    const area = all(".code-area").find((one) => finding.dataset.file.endsWith(one.dataset.file));
    area?.previousElementSibling.children[Number(finding.dataset.line) - 1]?.classList.add("wrong");
  }
}
function fileTab(number, focus) {
  for (const tab of all("[data-filetab]")) {
    const on = tab.dataset.filetab === number;
    tab.setAttribute("aria-selected", String(on));
    tab.tabIndex = on ? 0 : -1;
    document.getElementById(`fp-${tab.dataset.filetab}`).hidden = !on;
    if (on && focus) tab.focus();
  }
  all(".code-area").filter((area) => area.offsetParent).forEach(gutter);
}
function goTo(finding) {
  const area = all(".code-area").find((one) => finding.dataset.file.endsWith(one.dataset.file));
  if (!area) return;
  fileTab(area.closest(".filep").id.slice(3));
  const lines = area.value.split("\n");
  const line = Math.max(1, Number(finding.dataset.line));
  const at = lines.slice(0, line - 1).join("\n").length + (line > 1 ? 1 : 0);
  area.focus();
  area.setSelectionRange(at + Math.max(0, Number(finding.dataset.column) - 1), at + (lines[line - 1] || "").length);
  area.scrollTop = Math.max(0, (line - 6) * LINE);
  gutter(area);
}
for (const area of all(".code-area")) {
  area.dataset.was = area.value;
  gutter(area);
  area.addEventListener("scroll", () => gutter(area), { passive: true });
  area.addEventListener("input", () => {
    gutter(area);
    one(`[data-name="${area.dataset.file}"] .dirty`).hidden = area.value === area.dataset.was;
    // What was tested is not this text any more: it is tested again before it can be saved.
    const save = one("#trial .savebar");
    if (save) save.hidden = true;
  });
}
document.addEventListener("click", (event) => {
  const tab = event.target.closest("[data-filetab]");
  if (tab) fileTab(tab.dataset.filetab);
  const finding = event.target.closest("#trial [data-line]");
  if (finding) goTo(finding);
});
document.addEventListener("htmx:afterSwap", () => {
  marks();
  const saved = one("#trial [data-saved-now]");
  if (saved) one("#policy-form input[name=base]").value = saved.dataset.savedNow;
  if (saved) for (const area of all(".code-area")) { area.dataset.was = area.value; one(`[data-name="${area.dataset.file}"] .dirty`).hidden = true; }
});
addEventListener("beforeunload", (event) => { if (all(".code-area").some((area) => area.value !== area.dataset.was)) event.preventDefault(); });
marks();
