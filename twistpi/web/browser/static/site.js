// What a script adds to pages that work without one: the switch between light and dark, buttons that copy, and a key that searches.
"use strict";

(() => {
  const root = document.body.dataset.root;

  const prefersDark = () => matchMedia("(prefers-color-scheme: dark)").matches;
  for (const button of document.querySelectorAll("button.theme")) {
    button.hidden = false;
    button.addEventListener("click", () => {
      const now = document.documentElement.dataset.theme || (prefersDark() ? "dark" : "light");
      const next = now === "dark" ? "light" : "dark";
      document.documentElement.dataset.theme = next;
      document.cookie = `twistpi-theme=${next}; path=${root || "/"}; max-age=31536000; samesite=lax`;
    });
  }

  for (const place of document.querySelectorAll(".copyable")) {
    if (!navigator.clipboard) break; // only where the page came by https or from this machine
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(place.querySelector("code").textContent);
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
    place.append(button);
  }

  document.addEventListener("keydown", (event) => {
    const isTyping = event.target.closest("input, textarea, select");
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || isTyping) return;
    event.preventDefault();
    document.querySelector("[role=search] input").focus();
  });

  // Suggestions: the input is a combobox with a list of options (WAI-ARIA), of which none is chosen at first.
  const pause = 120; // milliseconds without a key
  const element = (name, text, properties = {}) => Object.assign(document.createElement(name), { textContent: text }, properties);
  const marked = (name, pieces, properties) => {
    const found = element(name, "", properties);
    found.append(...pieces.map((piece) => (piece.match ? element("mark", piece.text) : piece.text)));
    return found;
  };

  const option = (id, item) => {
    const found = element("li", "", { id });
    const matches = Object.fromEntries(item.matches.map((match) => [match.field, match.pieces]));
    found.setAttribute("role", "option");
    found.setAttribute("aria-selected", "false");
    found.append(marked("strong", matches.name), element("small", `${item.index} ${item.version}`));
    if (item.summary) found.append(marked("small", matches.summary, { className: "summary" }));
    found.dataset.path = `${root}/${item.index.split("/").map(encodeURIComponent).join("/")}/${encodeURIComponent(item.project)}`;
    return found;
  };

  const suggest = (input, number) => {
    const list = element("ul", "", { className: "suggestions", id: `suggestions-${number}`, hidden: true });
    const told = element("div", "", { className: "hidden" });
    let timer, asked, chosen = -1;
    list.setAttribute("role", "listbox");
    list.setAttribute("aria-label", "Projects");
    told.setAttribute("role", "status");
    input.form.append(list, told);
    for (const [name, value] of [["role", "combobox"], ["aria-autocomplete", "list"], ["aria-controls", list.id], ["aria-expanded", "false"]]) {
      input.setAttribute(name, value);
    }
    input.autocomplete = "off";

    const choose = (place) => {
      chosen = place;
      [...list.children].forEach((one, at) => one.setAttribute("aria-selected", String(at === place)));
      if (place < 0) return input.removeAttribute("aria-activedescendant");
      input.setAttribute("aria-activedescendant", list.children[place].id);
      return list.children[place].scrollIntoView({ block: "nearest" });
    };
    const show = (items) => {
      list.replaceChildren(...items.map((item, place) => option(`${list.id}-${place}`, item)));
      list.hidden = items.length === 0;
      input.setAttribute("aria-expanded", String(!list.hidden));
      choose(-1);
    };
    const ask = async () => {
      asked?.abort();
      const query = input.value.trim();
      if (query.length < 2) return show([]);
      asked = new AbortController();
      try {
        const answer = await fetch(`${root}/+search.json?limit=8&query=${encodeURIComponent(query)}`, { signal: asked.signal });
        if (!answer.ok || document.activeElement !== input) return show([]);
        const { result } = await answer.json();
        told.textContent = `${result.items.length} suggestions`;
        return show(result.items);
      } catch {
        return undefined; // a newer question is under way, or the server is away: the form works all the same
      }
    };

    input.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(ask, pause); });
    input.addEventListener("blur", () => { clearTimeout(timer); show([]); });
    input.addEventListener("keydown", (event) => {
      const count = list.children.length;
      if (event.key === "Escape" && count) { event.preventDefault(); show([]); return; }
      if (event.key === "Enter" && chosen >= 0) { event.preventDefault(); location.assign(list.children[chosen].dataset.path); return; }
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (!step || !count) return;
      event.preventDefault();
      choose(chosen + step < -1 ? count - 1 : chosen + step === count ? -1 : chosen + step);
    });
    list.addEventListener("mousedown", (event) => event.preventDefault()); // the input keeps the focus
    list.addEventListener("click", (event) => {
      const target = event.target.closest("[data-path]");
      if (target) location.assign(target.dataset.path);
    });
  };
  document.querySelectorAll('form[role="search"] input').forEach(suggest);
})();
