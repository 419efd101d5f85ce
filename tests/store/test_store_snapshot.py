"""Reading a database without leaving a trace beside it."""

from pathlib import Path

from isoflop.store import open_store
from isoflop.store.snapshot import read_snapshot
from tests.report_examples import grid, make_result, save_sweep


def test_reading_a_snapshot_reads_again_what_changed_meanwhile_and_leaves_nothing(tmp_path: Path) -> None:
    cells = grid(1e12)
    save_sweep(tmp_path / "x.db", cells, [])
    seen: list[int] = []

    def read(store) -> int:
        n_pending = len(store.pending("demo"))
        if not seen:
            with open_store(tmp_path / "x.db", write=True) as writer:
                writer.record(make_result(cells[0]))
        seen.append(n_pending)
        return n_pending

    assert read_snapshot(tmp_path / "x.db", read) == 6
    assert seen == [7, 6]
    assert [path.name for path in tmp_path.iterdir()] == ["x.db"]


def test_reading_a_snapshot_beside_a_writer_sees_what_it_committed(tmp_path: Path) -> None:
    cells = grid(1e12)
    save_sweep(tmp_path / "x.db", cells, [])
    with open_store(tmp_path / "x.db", write=True) as writer:
        writer.record(make_result(cells[0]))
        assert len(read_snapshot(tmp_path / "x.db", lambda store: store.pending("demo"))) == 6
