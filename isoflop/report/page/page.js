"use strict";
(() => {
  const CONFIG = {
    displaylogo: false,
    // The buttons that are wanted, by name: later versions of plotly must not add one that sends data away.
    modeBarButtons: [["toImage"], ["zoom2d", "pan2d"], ["zoomIn2d", "zoomOut2d", "resetScale2d"]],
    plotlyServerURL: "",
    responsive: true,
    showSendToCloud: false,
  };
  const narrow = matchMedia("(max-width: 48rem)");
  const belowThePlot = { orientation: "h", x: 0, yref: "container", y: 0, yanchor: "bottom" };

  // The densest choice of ticks of which few enough lie within the range, decades; null for a linear axis.
  function ticksWithin(choices, [from, to]) {
    const inside = ([value]) => from <= Math.log10(value) && Math.log10(value) <= to;
    const most = narrow.matches ? 5 : 7;
    const shown = choices.map((ticks) => ticks.filter(inside));
    return shown.find((ticks) => ticks.length <= most) ?? shown.at(-1) ?? null;
  }

  function withTicks(axis, choices) {
    const ticks = axis.range ? ticksWithin(choices, axis.range) : null;
    return ticks ? { ...axis, tickvals: ticks.map((tick) => tick[0]), ticktext: ticks.map((tick) => tick[1]) } : axis;
  }

  function layoutOf(plot, layout) {
    return {
      ...layout,
      legend: { ...layout.legend, ...(narrow.matches ? belowThePlot : {}) },
      // A finger that drags wants to scroll the page; a mouse that drags wants to zoom.
      dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
      xaxis: withTicks(layout.xaxis, plot.ticks.xaxis),
      yaxis: withTicks(layout.yaxis, plot.ticks.yaxis),
    };
  }

  // After a zoom the ticks no longer fit; setting them is itself a change of layout, which then changes nothing more.
  function renewTicks(place, plot) {
    const changes = {};
    for (const name of ["xaxis", "yaxis"]) {
      const axis = withTicks(place.layout[name], plot.ticks[name]);
      if (String(axis.tickvals) !== String(place.layout[name].tickvals)) {
        changes[`${name}.tickvals`] = axis.tickvals;
        changes[`${name}.ticktext`] = axis.ticktext;
      }
    }
    if (Object.keys(changes).length) Plotly.relayout(place, changes);
  }

  async function draw(name, plot) {
    const image = { filename: `isoflop-${name}`, format: "svg" };
    // On a narrow screen the buttons would lie on the title.
    const config = { ...CONFIG, displayModeBar: !narrow.matches, toImageButtonOptions: image };
    const place = await Plotly.newPlot(name, plot.data, layoutOf(plot, plot.layout), config);
    place.on("plotly_relayout", () => renewTicks(place, plot));
  }

  async function start() {
    try {
      const plots = Object.entries(JSON.parse(document.getElementById("plots").textContent));
      let drawnNarrow = null;
      const drawAll = () => {
        drawnNarrow = narrow.matches;
        return Promise.all(plots.map(([name, plot]) => draw(name, plot)));
      };
      await drawAll();
      // On paper the plots are hidden, and for a picture the window may have no width for a moment: nothing to draw.
      const adapt = ([{ contentRect }]) => contentRect.width > 0 && drawnNarrow !== narrow.matches && drawAll();
      new ResizeObserver(adapt).observe(document.querySelector(".plots"));
    } catch (error) {
      document.documentElement.classList.remove("live"); // the drawn figure takes the place of the plots
      throw error;
    }
  }

  start();
})();
