"use strict";
/* The page is complete without this script; it adds pages, sorting, searching and filtering. */
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const make = (tag, properties = {}) => Object.assign(document.createElement(tag), properties);

  // Vega draws without evaluating text as code, which the page's own policy forbids.
  window.drawChart = (place, spec) => window.vegaEmbed(place, spec, {
    ast: true,
    renderer: "svg",
    actions: false, // its menu needs a mouse; tables and figures are on the page to be saved
  });
  // A chart needs a width, so it is drawn when its page is first shown.
  const drawCharts = (page) => {
    all(".drawing[data-spec]", page).forEach((place) => {
      const spec = JSON.parse(document.getElementById(place.dataset.spec).textContent);
      delete place.dataset.spec;
      window.drawChart(place, spec);
    });
  };

  // One page at a time, chosen by the fragment; an anchor inside a page shows that page. What stands behind
  // a slash is for the page itself.
  const pages = all(".page");
  const links = all("header nav a");
  const menus = all("header details");
  document.documentElement.classList.add("paged");
  const show = () => {
    // The name of a prediction of another cohort holds slashes itself.
    const whole = decodeURIComponent(location.hash.slice(1));
    const parts = location.hash.slice(1).split("/").map(decodeURIComponent);
    const [id, ...rest] = document.getElementById(whole) ? [whole] : parts;
    const target = (id && document.getElementById(id)) || pages[0];
    const page = target.closest(".page") || pages[0];
    pages.forEach((other) => other.classList.toggle("current", other === page));
    // What is part of an experiment stands under its entry of the menu.
    const entry = "#" + (page.dataset.of || page.id);
    links.forEach((link) => {
      if (link.hash === entry) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    });
    menus.forEach((menu) => {
      menu.open = false;
      menu.classList.toggle("current", menu.querySelector("[aria-current]") !== null);
    });
    drawCharts(page);
    if (target === page) window.scrollTo(0, 0);
    else target.scrollIntoView();
    if (id) page.focus({ preventScroll: true });
    if (page.id === "maps") window.explorer.open(rest);
  };
  menus.forEach((menu) => {
    menu.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      menu.open = false;
      menu.querySelector("summary").focus();
    });
    menu.addEventListener("toggle", () => {
      if (menu.open) menus.forEach((other) => (other.open = other === menu));
    });
  });
  document.addEventListener("click", (event) => {
    menus.forEach((menu) => menu.contains(event.target) || (menu.open = false));
  });
  window.addEventListener("hashchange", show);

  // A table's link downloads the file that the page of downloads holds.
  all("a[data-file]").forEach((link) => {
    const source = document.getElementById(link.dataset.file);
    if (source && source.download) {
      link.href = source.href;
      link.download = source.download;
    }
  });

  // A gene leads to its map, where one is stored.
  all("table[data-maps]").forEach((table) => {
    const experiment = window.explorer.experiments.get(table.dataset.maps);
    if (!experiment) return;
    const genes = new Set(experiment.genes);
    [...table.tBodies[0].rows].forEach((row) => {
      const cell = row.cells[0];
      const gene = cell.textContent.trim();
      if (!genes.has(gene)) return;
      const link = make("a", { textContent: gene, title: "Show the map of " + gene });
      link.href = "#" + ["maps", table.dataset.maps, "", gene].map(encodeURIComponent).join("/");
      cell.replaceChildren(link);
    });
  });

  all("table[data-table]").forEach((table) => {
    const body = table.tBodies[0];
    const rows = [...body.rows];
    const heads = [...table.tHead.rows[0].cells];
    const name = table.dataset.table;
    const value = (row, place) => {
      const cell = row.cells[place];
      return cell.dataset.sort === undefined ? cell.textContent.trim() : cell.dataset.sort;
    };

    const number = (text) => Number(text.replace("−", "-").replaceAll(",", ""));
    // Sorting: empty values stay last in both directions; equal ones keep their order.
    heads.forEach((head, place) => {
      const button = make("button", { type: "button" });
      button.append(...head.childNodes);
      head.append(button);
      const numeric = head.classList.contains("num");
      button.addEventListener("click", () => {
        const first = numeric ? "descending" : "ascending";
        const second = numeric ? "ascending" : "descending";
        const direction = head.getAttribute("aria-sort") === first ? second : first;
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", direction);
        const sign = direction === "ascending" ? 1 : -1;
        const keyed = rows.map((row) => [value(row, place), row]);
        keyed.sort(([a], [b]) => {
          if (a === "" || b === "") return (a === "") - (b === "");
          return sign * (numeric ? number(a) - number(b) : a.localeCompare(b, "en", { numeric: true }));
        });
        body.append(...keyed.map(([, row]) => row));
      });
    });

    // Searching and filtering, where the table offers it.
    const choices = heads.flatMap((head, place) => {
      const values = [...new Set(rows.map((row) => row.cells[place].textContent.trim()))];
      return head.dataset.choose && values.length > 1 ? [{ head, place, values }] : [];
    });
    const searchable = table.dataset.search !== undefined;
    if (!searchable && !choices.length) return;
    const bar = make("div", { className: "controls" });
    const count = make("output");
    count.setAttribute("aria-live", "polite");
    let search = null;
    const selects = [];
    const apply = () => {
      const text = search ? search.value.trim().toLowerCase() : "";
      let shown = 0;
      rows.forEach((row) => {
        const found = !text || row.textContent.toLowerCase().includes(text);
        const chosen = selects.every(([select, place]) => !select.value || row.cells[place].textContent.trim() === select.value);
        row.hidden = !(found && chosen);
        shown += !row.hidden;
      });
      count.textContent = shown + " of " + rows.length + " rows";
    };
    if (searchable) {
      const label = make("label", { textContent: "Search " });
      search = make("input", { type: "search" });
      search.setAttribute("aria-label", "Search in " + name);
      search.addEventListener("input", apply);
      label.append(search);
      bar.append(label);
    }
    choices.forEach(({ head, place, values }) => {
      const title = head.textContent.trim();
      const label = make("label", { textContent: title + " " });
      const select = make("select");
      select.setAttribute("aria-label", title + " in " + name);
      select.append(new Option("all", ""), ...values.map((text) => new Option(text, text)));
      const wanted = table.getAttribute("data-default-" + head.dataset.choose);
      if (wanted && values.includes(wanted)) select.value = wanted;
      select.addEventListener("change", apply);
      label.append(select);
      bar.append(label);
      selects.push([select, place]);
    });
    bar.append(count);
    table.parentElement.before(bar);
    apply();
  });

  show();
})();
