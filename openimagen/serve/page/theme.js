// Dark or light: the system's, unless somebody chose. Runs before the page is painted.

(() => {
  const KEPT = "openimagen.theme";
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");

  function kept() {
    try {
      return localStorage.getItem(KEPT);
    } catch {
      return null; // storage is barred
    }
  }

  function keep(theme) {
    try {
      localStorage.setItem(KEPT, theme);
    } catch {
      // then it holds until the page is left
    }
  }

  const shown = () => root.dataset.theme ?? (system.matches ? "dark" : "light");

  const theme = kept();
  if (theme === "dark" || theme === "light") root.dataset.theme = theme;

  addEventListener("DOMContentLoaded", () => {
    const toggle = document.getElementById("theme");
    const say = () => toggle.setAttribute("aria-label", `Theme: ${shown()}. Change it`);
    toggle.addEventListener("click", () => {
      root.dataset.theme = shown() === "dark" ? "light" : "dark";
      keep(root.dataset.theme);
      say();
    });
    system.addEventListener("change", say);
    say();
  });
})();
