"""How runs were trained, as findings: each with its cause, and only then."""

import dataclasses

import pytest

from isoflop.plan.types import Role
from isoflop.sources.findings.training import training_findings
from isoflop.sources.load import load_source
from tests.report_examples import grid, make_result, planned_otherwise, save_sweep, summary_of


@pytest.fixture
def swept(tmp_path):
    """A sweep that went well, as a source."""
    cells = grid(1e12, 3e12, 1e13)
    save_sweep(tmp_path / "isoflop.db", cells, [make_result(cell) for cell in cells])
    return load_source(str(tmp_path / "isoflop.db"), db=tmp_path / "none.db", sweep=None)


def _found(source, cells):
    return {finding.code: finding for finding in training_findings(cells, summary_of(source).fit)}


def _changed(source, index, **changes):
    cells = list(source.cells)
    cells[index] = dataclasses.replace(cells[index], **changes)
    return cells


def test_a_sweep_that_went_well_has_none(swept):
    assert _found(swept, swept.cells) == {}


@pytest.mark.parametrize(
    ("code", "changes"),
    [("few_steps", {"n_steps": 199}), ("many_epochs", {"epochs": 4.1})],
    ids=str,
)
def test_a_run_of_few_steps_or_many_epochs_is_named(swept, code, changes):
    found = _found(swept, _changed(swept, 3, **changes))
    assert set(found) == {code}
    assert found[code].values["run_ids"] == [swept.cells[3].run_id]


def test_a_run_that_is_not_fitted_is_nobodys_trouble(swept):
    assert _found(swept, _changed(swept, 3, n_steps=10, excluded="too short")) == {}


@pytest.mark.parametrize(
    ("gains", "shift"),
    [((0.0, 0.05), 1), ((0.05, 0.0), -1), ((0.05, 0.05), 0), ((-0.05, -0.2), 0)],
    ids=["large sizes gain", "small sizes gain", "all gain alike", "none gains"],
)
def test_probes_that_gain_unevenly_tilt_the_valley(tmp_path, gains, shift):
    cells = grid(1e12, 3e12, 1e13)
    ends = (cells[0], cells[6])
    probes = [dataclasses.replace(planned_otherwise(cell, learning_rate=0.5), role=Role.PROBE) for cell in ends]
    results = [make_result(cell) for cell in cells]
    for probe, end, gain in zip(probes, ends, gains, strict=True):
        results.append(make_result(probe, val_loss=make_result(end).val_loss - gain))
    save_sweep(tmp_path / "isoflop.db", [*cells, *probes], results)
    source = load_source(str(tmp_path / "isoflop.db"), db=tmp_path / "none.db", sweep=None)
    found = _found(source, source.cells)
    assert ("recipe_tilts" in found) == (shift != 0)
    if shift:
        (moved,) = found["recipe_tilts"].values["shift_decades"]
        assert moved * shift > 0


def test_probes_that_gain_no_more_than_noise_tilt_nothing(tmp_path):
    cells = grid(1e12, 3e12, 1e13)
    noisy = [0.02 * (-1) ** index for index in range(len(cells))]
    results = [
        make_result(cell, val_loss=make_result(cell).val_loss + off) for cell, off in zip(cells, noisy, strict=True)
    ]
    ends = (cells[0], cells[6])
    probes = [dataclasses.replace(planned_otherwise(cell, learning_rate=0.5), role=Role.PROBE) for cell in ends]
    results += [
        make_result(probe, val_loss=results[cells.index(end)].val_loss - gain)
        for probe, end, gain in zip(probes, ends, (0.0, 0.025), strict=True)
    ]
    save_sweep(tmp_path / "isoflop.db", [*cells, *probes], results)
    source = load_source(str(tmp_path / "isoflop.db"), db=tmp_path / "none.db", sweep=None)
    assert "recipe_tilts" not in _found(source, source.cells)
