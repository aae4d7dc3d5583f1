"use strict";
(() => {
  const root = document.documentElement;
  const byId = (id) => document.getElementById(id);

  // theme: the system's, until the reader chooses; a browser that keeps nothing for files just forgets the choice
  const theme = byId("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const remembered = (value) => {
    try {
      return value === undefined ? localStorage.getItem("pairstill-theme") : localStorage.setItem("pairstill-theme", value);
    } catch {
      return null;
    }
  };
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const showTheme = () => theme.setAttribute("aria-pressed", String(isDark()));
  const before = remembered();
  if (before === "dark" || before === "light") root.dataset.theme = before;
  theme.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    remembered(root.dataset.theme);
    showTheme();
  });
  system.addEventListener("change", showTheme);
  theme.hidden = false;
  showTheme();

  const cards = [...document.querySelectorAll(".card")];
  const shown = () => cards.filter((card) => !card.hidden);

  // filter
  const filter = byId("filter");
  if (filter) {
    filter.disabled = false;
    const words = cards.map((card) => card.querySelector(".words").textContent.toLowerCase());
    filter.addEventListener("input", () => {
      const wanted = filter.value.trim().toLowerCase();
      cards.forEach((card, place) => { card.hidden = !words[place].includes(wanted); });
      byId("found").textContent = wanted ? `${shown().length} of ${cards.length} pairs` : "";
    });
  }

  // a closer look
  const closer = byId("closer");
  let current = null;
  const look = (card) => {
    current = card;
    byId("closer-title").textContent = card.querySelector(".strip").getAttribute("aria-label").replace("Enlarge pair", "Pair");
    const pictures = [...card.querySelectorAll("img")].map((image) => {
      const copy = image.cloneNode();
      copy.loading = "eager";
      return copy;
    });
    byId("closer-strip").replaceChildren(...pictures);
    byId("closer-words").replaceChildren(card.querySelector(".words").cloneNode(true));
    if (!closer.open) closer.showModal();
  };
  const go = (by) => {
    const all = shown();
    const next = all[all.indexOf(current) + by];
    if (next) look(next);
  };
  cards.forEach((card) => card.querySelector(".strip").addEventListener("click", () => look(card)));
  byId("earlier").addEventListener("click", () => go(-1));
  byId("later").addEventListener("click", () => go(1));
  closer.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") go(-1);
    if (event.key === "ArrowRight") go(1);
  });
  closer.addEventListener("click", (event) => { if (event.target === closer) closer.close(); });
  closer.addEventListener("close", () => { if (current) current.querySelector(".strip").focus(); });
})();
