// Light, dark, or as the system; remembered in this browser.

const NAMES = { system: "as the system", light: "light", dark: "dark" };
const NEXT = { system: "dark", dark: "light", light: "system" };
const KEY = "menagerie-theme";

export function startTheme(button) {
  let theme = stored();
  const show = () => {
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    button.setAttribute("aria-label", `Theme: ${NAMES[theme]}`);
    button.title = `Theme: ${NAMES[theme]}`;
  };
  button.addEventListener("click", () => {
    theme = NEXT[theme];
    try { localStorage.setItem(KEY, theme); } catch { /* private windows may refuse */ }
    show();
  });
  show();
}

function stored() {
  try {
    const theme = localStorage.getItem(KEY);
    return theme in NEXT ? theme : "system";
  } catch {
    return "system";
  }
}
