// Runs before the first paint, so that a chosen theme never flashes. The switch itself is in app.js.
(() => {
  try {
    const theme = localStorage.getItem("helm-theme");
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  } catch {
    // storage is blocked: the system's theme stays
  }
})();
