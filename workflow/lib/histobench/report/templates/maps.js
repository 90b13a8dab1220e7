"use strict";
/* The map explorer: choices in the form, the same in the address, maps drawn by Vega-Lite. */
window.explorer = (() => {
  const LEVELS = 63;
  const ABSENT = 255;
  const at = (id) => document.getElementById(id);
  const parse = (element) => JSON.parse(element.textContent);
  const form = at("explorer");
  const picks = Object.fromEntries(
    ["experiment", "section", "gene", "method", "own", "tissue", "spots"].map((name) => [name, at("maps-" + name)]),
  );
  const experiments = new Map();
  document.querySelectorAll("script.map-experiment").forEach((element) => {
    experiments.set(element.dataset.experiment, { ...parse(element), sections: new Map() });
  });
  document.querySelectorAll("script.map-section").forEach((element) => {
    experiments.get(element.dataset.experiment).sections.set(element.dataset.section, element);
  });
  const specs = parse(at("map-specs"));
  const read = new Map(); // decoded sections, by element
  const views = new Map(); // drawn charts, by id of their place

  const decode = async (element) => {
    if (read.has(element)) return read.get(element);
    const stored = parse(element);
    const bytes = Uint8Array.from(atob(stored.values), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    stored.steps = new Uint8Array(await new Response(stream).arrayBuffer());
    read.set(element, stored);
    return stored;
  };
  // Values of one source (0: measured) and gene, null where nothing was measured.
  const values = (stored, source, gene) => {
    const spots = stored.x.length;
    const start = (source * stored.genes.length + gene) * spots;
    const low = stored.low[source][gene];
    const width = stored.high[source][gene] - low;
    return Array.from(stored.steps.subarray(start, start + spots), (step) =>
      step === ABSENT ? null : low + (width * step) / LEVELS,
    );
  };
  const quantile = (sorted, share) => sorted[Math.round(share * (sorted.length - 1))];
  const ends = (...lists) => {
    const found = lists.map((list) => list.filter((value) => value !== null).sort((a, b) => a - b));
    const full = found.filter((list) => list.length);
    if (!full.length) return [0, 1];
    const low = Math.min(...full.map((list) => quantile(list, 0.02)));
    const high = Math.max(...full.map((list) => quantile(list, 0.98)));
    return high > low ? [low, high] : [low, low + 1];
  };
  const spread = (list) => {
    const known = list.filter((value) => value !== null);
    const mean = known.reduce((sum, value) => sum + value, 0) / known.length;
    return Math.sqrt(known.reduce((sum, value) => sum + (value - mean) ** 2, 0) / known.length);
  };
  const show = (number, digits = 2) => number.toFixed(digits).replace("-", "−");

  const draw = async (id, spec) => {
    const place = at(id);
    const old = views.get(id);
    const made = await window.drawChart(place, spec);
    if (old) old.finalize();
    views.set(id, made);
  };
  const clear = (id) => {
    if (views.has(id)) views.get(id).finalize();
    views.delete(id);
    at(id).replaceChildren();
  };

  const room = (stored) => {
    const across = at("maps-measured").clientWidth;
    const scale = Math.min(across / stored.width, Math.max(320, 0.75 * window.innerHeight) / stored.height);
    return { width: Math.floor(stored.width * scale), height: Math.floor(stored.height * scale), scale };
  };
  const drawMap = (id, stored, shown, measured, predicted, domain) => {
    const spec = structuredClone(specs.map);
    const { width, height, scale } = room(stored);
    const [picture, absent, discs] = spec.layer;
    Object.assign(spec, { width, height, autosize: { type: "pad", contains: "content" }, padding: 0 });
    Object.assign(picture.mark, { width, height, opacity: 0.75 });
    [absent, discs].forEach((layer) => {
      layer.encoding.x.scale.domain = [0, stored.width];
      layer.encoding.y.scale.domain = [stored.height, 0];
      layer.mark.size = Math.PI * (0.46 * stored.diameter * scale) ** 2;
    });
    discs.encoding.color.scale.domain = domain;
    discs.mark.opacity = picks.spots.value / 100; // down to nothing, to see what lies under a spot
    discs.encoding.color.legend.title = experiments.get(picks.experiment.value).scale || null;
    discs.encoding.color.legend.gradientLength = Math.min(width, 260);
    const length = stored.um_per_px ? 1000 / stored.um_per_px : 0;
    const margin = 0.03 * stored.width;
    spec.datasets = {
      picture: stored.image && picks.tissue.checked ? [{ url: stored.image }] : [],
      spots: stored.x.map((x, spot) => ({
        x, y: stored.y[spot], value: shown[spot], measured: measured[spot], predicted: predicted[spot], spot,
      })),
      bar: length && length < stored.width
        ? [{ x: margin, x2: margin + length, y: stored.height - margin / 2, label: "1 mm" }]
        : [],
    };
    return draw(id, spec);
  };
  const drawScatter = (stored, measured, predicted) => {
    const spec = structuredClone(specs.scatter);
    const { width } = room(stored);
    const side = Math.min(width, 340) - 60;
    const known = measured.map((value, spot) => ({ measured: value, predicted: predicted[spot] }))
      .filter((spot) => spot.measured !== null && spot.predicted !== null);
    const all = known.flatMap((spot) => [spot.measured, spot.predicted]);
    const domain = all.length ? [Math.min(...all), Math.max(...all)] : [0, 1];
    const margin = 0.03 * (domain[1] - domain[0]) || 0.5;
    domain[0] -= margin;
    domain[1] += margin;
    Object.assign(spec, { width: side, height: side });
    spec.layer.forEach((layer) => {
      layer.encoding.x.scale.domain = domain;
      layer.encoding.y.scale.domain = domain;
    });
    spec.datasets = { spots: known, line: domain.map((value) => ({ value })) };
    return draw("maps-scatter", spec);
  };
  const drawMethods = (stored, experiment, gene, chosen) => {
    const spec = structuredClone(specs.methods);
    const scores = stored.methods.map((method, row) => ({
      ...experiment.methods[method], method: experiment.methods[method].title, r: stored.r[row][gene], zero: 0,
      size: method === chosen ? 170 : 60,
    })).filter((row) => row.r !== null);
    spec.height = 20 * scores.length;
    spec.datasets = { scores };
    return scores.length ? draw("maps-methods", spec) : clear("maps-methods");
  };

  let turn = 0; // only the last choice is drawn
  const update = async () => {
    const mine = ++turn;
    const experiment = experiments.get(picks.experiment.value);
    const stored = await decode(experiment.sections.get(picks.section.value));
    if (mine !== turn) return;
    const wanted = picks.gene.value.trim();
    const gene = stored.genes.findIndex((name) => name.toLowerCase() === wanted.toLowerCase());
    const says = at("maps-says");
    says.hidden = false;
    const left = stored.n_left_out ? ` ${stored.n_left_out} more were predicted and left out of this page for its size.` : "";
    if (gene < 0) {
      says.textContent = `${wanted || "No gene"} is not among the ${stored.genes.length} genes stored for section ${picks.section.value}.${left}`;
      return;
    }
    picks.gene.value = stored.genes[gene];
    const method = picks.method.value;
    const title = experiment.methods[method].title;
    const source = stored.methods.indexOf(method) + 1;
    const measured = values(stored, 0, gene);
    const address = ["maps", picks.experiment.value, picks.section.value, stored.genes[gene], method];
    history.replaceState(null, "", "#" + address.map(encodeURIComponent).join("/"));
    at("maps-name").textContent = title;
    const here = `${stored.genes[gene]} in section ${picks.section.value} of patient ${stored.patient}`;
    const unit = experiment.scale ? `, ${experiment.scale}` : "";
    if (!source) {
      const reason = stored.missing[method] || "no prediction was stored";
      says.textContent = `Missing: ${title} has no prediction here: ${reason}. ${here} is shown as measured.`;
      clear("maps-predicted");
      clear("maps-scatter");
      const empty = measured.map(() => null);
      await drawMap("maps-measured", stored, measured, measured, empty, ends(measured));
      await drawMethods(stored, experiment, gene, method);
      return;
    }
    const predicted = values(stored, source, gene);
    const r = stored.r[source - 1][gene];
    const same = ends(measured, predicted);
    const domains = picks.own.checked ? [ends(measured), ends(predicted)] : [same, same];
    const ratio = spread(measured) > 0 ? `; its spread is ${show(spread(predicted) / spread(measured))} of the measured one` : "";
    const score = r === null ? "r is undefined, because the measured values are constant" : `r = ${show(r, 3)}`;
    const scale = picks.own.checked
      ? "Each map has its own colour scale: colours cannot be compared between them"
      : `One colour scale for both, from ${show(same[0])} to ${show(same[1])} (2nd and 98th percentile${unit}); values beyond take the end colours`;
    says.textContent = `${here}, ${title}: ${score} over n = ${stored.x.length} spots${ratio}. ${scale}. Not tested.`
      + `${stored.image ? "" : " No image of the tissue is part of this experiment."}${left}`;
    await drawMap("maps-measured", stored, measured, measured, predicted, domains[0]);
    await drawMap("maps-predicted", stored, predicted, measured, predicted, domains[1]);
    await drawScatter(stored, measured, predicted);
    await drawMethods(stored, experiment, gene, method);
  };

  const options = (select, pairs, wanted) => {
    select.replaceChildren(...pairs.map(([value, text]) => new Option(text, value)));
    if (pairs.some(([value]) => value === wanted)) select.value = wanted;
  };
  const sorted = (stored) => [...stored.genes].sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
  // Fill the form below the experiment and the section, keeping what was chosen where it exists.
  const fill = async ({ section, gene, method } = {}) => {
    const experiment = experiments.get(picks.experiment.value);
    const names = [...experiment.sections.keys()];
    let place = section || picks.section.value;
    if (!names.includes(place)) {
      place = names[0];
      for (const name of gene ? names : []) {
        if ((await decode(experiment.sections.get(name))).genes.includes(gene)) {
          place = name;
          break;
        }
      }
    }
    const stored = await decode(experiment.sections.get(place));
    options(picks.section, names.map((name) => [name, name]), place);
    const methods = Object.entries(experiment.methods);
    const before = method || picks.method.value;
    options(
      picks.method,
      methods.map(([name, look]) => [name, look.title + (stored.methods.includes(name) ? "" : " (missing)")]),
      experiment.methods[before] ? before : experiment.best || methods[0][0],
    );
    at("maps-genes").replaceChildren(...sorted(stored).map((name) => new Option(name)));
    picks.gene.value = gene || (stored.genes.includes(picks.gene.value) ? picks.gene.value : stored.genes[0] || "");
    await update();
  };

  const step = async (by) => {
    const experiment = experiments.get(picks.experiment.value);
    const genes = sorted(await decode(experiment.sections.get(picks.section.value)));
    const place = genes.indexOf(picks.gene.value);
    picks.gene.value = genes[(place + by + genes.length) % genes.length];
    await update();
  };
  form.addEventListener("submit", (event) => event.preventDefault());
  picks.experiment.addEventListener("change", () => fill());
  picks.section.addEventListener("change", () => fill());
  ["gene", "method", "own", "tissue", "spots"].forEach((name) => picks[name].addEventListener("change", update));
  at("maps-previous").addEventListener("click", () => step(-1));
  at("maps-next").addEventListener("click", () => step(1));
  let waiting = 0;
  window.addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => at("maps").classList.contains("current") && views.size && update(), 200);
  });

  return {
    experiments,
    // Show the maps that an address names: parts behind "#maps/".
    open: async ([experiment, section, gene, method]) => {
      if (!experiments.size || !window.vegaEmbed) return;
      form.hidden = false;
      document.querySelector(".maps").hidden = false;
      options(picks.experiment, [...experiments].map(([name, entry]) => [name, entry.title]),
        experiments.has(experiment) ? experiment : picks.experiment.value);
      await fill({ section, gene, method });
    },
  };
})();
