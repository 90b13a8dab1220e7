"use strict";
/* The page is complete without this script; it adds pages, sorting, searching and filtering. */
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const make = (tag, properties = {}) => Object.assign(document.createElement(tag), properties);

  // One page at a time, chosen by the fragment; an anchor inside a page shows that page.
  const pages = all(".page");
  const links = all("header nav a");
  document.documentElement.classList.add("paged");
  const show = () => {
    const id = decodeURIComponent(location.hash.slice(1));
    const target = (id && document.getElementById(id)) || pages[0];
    const page = target.closest(".page") || pages[0];
    pages.forEach((other) => other.classList.toggle("current", other === page));
    links.forEach((link) => {
      if (link.hash === "#" + page.id) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    });
    if (target === page) window.scrollTo(0, 0);
    else target.scrollIntoView();
    if (id) page.focus({ preventScroll: true });
  };
  window.addEventListener("hashchange", show);

  // A table's link downloads the file that the page of downloads holds.
  all("a[data-file]").forEach((link) => {
    const source = document.getElementById(link.dataset.file);
    if (source && source.download) {
      link.href = source.href;
      link.download = source.download;
    }
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
          return sign * (numeric ? Number(a) - Number(b) : a.localeCompare(b, "en", { numeric: true }));
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
