"""The tables, made by named, ordered migrations: each a transaction with its own record, none ever edited.

Types: FLOPs are REAL (1e19 overflows INTEGER), tokens and parameters INTEGER, times UTC ISO 8601 text, flags 0 or 1.
SQLite stores NaN as NULL and accepts infinity, so columns that must hold a number are NOT NULL and bounded by 9e999,
SQLite's infinity.
"""

from sqlite_utils import Database, Migrations

_SWEEPS = """
create table sweeps (
    name text primary key,
    spec_json text not null,
    spec_hash text not null,
    created_at text not null
) strict
"""

_RUNS = """
create table runs (
    run_id text primary key,
    spec_json text not null,
    trainer text not null,
    shape text not null,
    n_params_embedding integer not null,
    n_params_attention integer not null,
    n_params_mlp integer not null,
    n_params_norm integer not null,
    n_params_head integer not null,
    n_params_total integer not null,
    n_params_non_embedding integer not null,
    n_params_matmul integer not null,
    n_tokens integer not null check (n_tokens > 0),
    n_steps integer not null check (n_steps > 0),
    batch_tokens integer not null check (batch_tokens > 0),
    flops_per_token integer not null check (flops_per_token > 0),
    planned_flops real not null check (planned_flops > 0 and planned_flops < 9e999),
    learning_rate real not null,
    warmup_steps integer not null,
    cooldown_steps integer not null,
    seed integer not null,
    corpus_fingerprint text not null,
    tokenizer text not null,
    created_at text not null,
    check (n_params_non_embedding = n_params_attention + n_params_mlp + n_params_norm),
    check (n_params_matmul = n_params_non_embedding + n_params_head),
    check (n_params_total = n_params_matmul + n_params_embedding)
) strict
"""

# A trained cell has its shape in `runs`; a dropped one has no run and keeps the shape here.
_CELLS = """
create table cells (
    id integer primary key,
    sweep text not null references sweeps(name),
    run_id text references runs(run_id),
    budget_flops real not null check (budget_flops > 0 and budget_flops < 9e999),
    role text check (role in ('grid', 'replicate', 'probe', 'control', 'confirm', 'suggested')),
    epochs real check (epochs > 0 and epochs < 9e999),
    shape text,
    drop_reason text,
    check ((run_id is null) = (drop_reason is not null)),
    check ((run_id is null) = (shape is not null)),
    check ((run_id is null) = (role is null)),
    check ((run_id is null) = (epochs is null))
) strict
"""

_RESULTS = """
create table results (
    run_id text primary key references runs(run_id),
    schema_version integer not null,
    status text not null check (status in ('completed', 'diverged', 'failed')),
    reason text,
    attempt integer not null check (attempt > 0),
    simulated integer not null check (simulated in (0, 1)),
    n_steps integer not null check (n_steps >= 0),
    n_tokens integer not null check (n_tokens >= 0),
    achieved_flops real not null check (achieved_flops >= 0 and achieved_flops < 9e999),
    spent_flops real not null check (spent_flops >= 0 and spent_flops < 9e999),
    val_loss real check (abs(val_loss) < 9e999),
    val_loss_se real check (val_loss_se >= 0 and val_loss_se < 9e999),
    bits_per_byte real check (abs(bits_per_byte) < 9e999),
    n_val_tokens integer,
    seconds real not null check (seconds >= 0 and seconds < 9e999),
    tokens_per_second real check (tokens_per_second >= 0 and tokens_per_second < 9e999),
    finished_at text not null,
    execution text not null,
    host text not null,
    device text not null,
    isoflop_version text not null,
    python_version text not null,
    torch_version text,
    git_commit text,
    git_dirty integer check (git_dirty in (0, 1)),
    recorded_at text not null,
    check ((status = 'completed') = (val_loss is not null)),
    check ((status = 'completed') = (reason is null))
) strict
"""

# `started_at` is null for an attempt that is known only by the result it left.
_ATTEMPTS = """
create table attempts (
    run_id text not null references runs(run_id),
    attempt integer not null check (attempt > 0),
    host text not null,
    device text,
    started_at text,
    ended_at text,
    outcome text,
    reason text,
    log_path text,
    primary key (run_id, attempt)
) strict
"""

_CURVES = """
create table curves (
    run_id text not null references results(run_id) on delete cascade,
    step integer not null check (step > 0),
    n_tokens integer not null check (n_tokens > 0),
    loss real not null check (abs(loss) < 9e999),
    primary key (run_id, step)
) strict, without rowid
"""

_EXCLUSIONS = """
create table exclusions (
    run_id text primary key references runs(run_id),
    reason text not null,
    excluded_at text not null
) strict
"""


_METRICS = """
create table metrics (
    run_id text not null references results(run_id) on delete cascade,
    name text not null,
    value real not null check (abs(value) < 9e999),
    standard_error real not null check (standard_error >= 0 and standard_error < 9e999),
    n_items integer not null check (n_items > 0),
    unit text not null check (unit in ('share', 'bits per byte')),
    higher_is_better integer not null check (higher_is_better in (0, 1)),
    chance real check (chance > 0 and chance < 1),
    majority real check (majority > 0 and majority <= 1),
    probe_version integer not null check (probe_version > 0),
    corpus_fingerprint text not null,
    evaluated_at text not null,
    primary key (run_id, name)
) strict
"""


def m0001_sweeps_runs_and_results(db: Database) -> None:
    """Every table of the first release."""
    for table in (_SWEEPS, _RUNS, _CELLS, _RESULTS, _ATTEMPTS, _CURVES, _EXCLUSIONS):
        db.execute(table)
    db.execute("create index cells_by_sweep on cells(sweep)")
    db.execute("create index cells_by_run on cells(run_id)")


def m0002_utilisation(db: Database) -> None:
    """What share of the device's measured peak a run used; null for runs from before."""
    for column in ("peak_flops_per_second", "model_flops_utilisation"):
        db.execute(f"alter table results add column {column} real check ({column} >= 0 and {column} < 9e999)")


# What a fit predicted for a run before that run was trained. Only ever inserted, so that no later fit can replace it.
_PREDICTIONS = """
create table predictions (
    sweep text not null references sweeps(name),
    run_id text not null references runs(run_id),
    place text not null check (place in ('optimum', 'half', 'double')),
    budget_flops real not null check (budget_flops > 0 and budget_flops < 9e999),
    made_at text not null,
    isoflop_version text not null,
    estimator text not null,
    param_count text not null,
    n_opt real not null check (n_opt > 0 and n_opt < 9e999),
    n_opt_low real not null check (n_opt_low > 0 and n_opt_low <= n_opt),
    n_opt_high real not null check (n_opt_high >= n_opt and n_opt_high < 9e999),
    d_opt real not null check (d_opt > 0 and d_opt < 9e999),
    d_opt_low real not null check (d_opt_low > 0 and d_opt_low <= d_opt),
    d_opt_high real not null check (d_opt_high >= d_opt and d_opt_high < 9e999),
    n_params integer not null check (n_params > 0),
    n_tokens integer not null check (n_tokens > 0),
    loss real not null check (abs(loss) < 9e999),
    loss_low real not null check (loss_low <= loss and abs(loss_low) < 9e999),
    loss_high real not null check (loss_high >= loss and abs(loss_high) < 9e999),
    loss_unit text not null,
    level real not null check (level > 0 and level < 1),
    noise real not null check (noise >= 0 and noise < 9e999),
    n_rows integer not null check (n_rows > 0),
    rows_hash text not null,
    fitted_runs text not null,
    primary key (sweep, run_id)
) strict
"""


def m0003_predictions(db: Database) -> None:
    """Predictions of confirm runs, from before they were trained."""
    db.execute(_PREDICTIONS)


def m0004_metrics(db: Database) -> None:
    """What the models of runs can do: one row per run and metric."""
    db.execute(_METRICS)


# What isoflop knows of a run that a program of the user's own trains only where the user says so.
_OF_OUR_TRAINER = (
    "n_params_embedding", "n_params_attention", "n_params_mlp", "n_params_norm", "n_params_head",
    "n_params_non_embedding", "n_params_matmul", "n_steps", "batch_tokens", "learning_rate", "warmup_steps",
    "cooldown_steps",
)  # fmt: skip


def m0005_runs_of_programs(db: Database) -> None:
    """Runs that a program of the user's own trains: what isoflop does not decide about them may be null.

    Taking `not null` away changes no row, so the text of the table is changed where it stands (sqlite.org,
    lang_altertable.html, "Making Other Kinds Of Table Schema Changes").
    """
    ((schema,),) = db.execute("select sql from sqlite_schema where name = 'runs'").fetchall()
    for column in _OF_OUR_TRAINER:
        for kind in ("integer", "real"):
            schema = schema.replace(f"    {column} {kind} not null", f"    {column} {kind}")
    ((version,),) = db.execute("pragma schema_version").fetchall()
    db.execute("pragma writable_schema = on")
    db.execute("update sqlite_schema set sql = ? where name = 'runs' and type = 'table'", [schema])
    db.execute(f"pragma schema_version = {version + 1}")
    db.execute("pragma writable_schema = reset")


# What a sweep that steers itself decided. Only ever inserted, with the plan that has the new runs.
_STEERING_ROUNDS = """
create table steering_rounds (
    sweep text not null references sweeps(name),
    round integer not null check (round > 0),
    decided_at text not null,
    isoflop_version text not null,
    target_flops real not null check (target_flops > 0 and target_flops < 9e999),
    within real not null check (within > 1 and within < 9e999),
    max_hours real check (max_hours > 0 and max_hours < 9e999),
    n_rows integer not null check (n_rows > 0),
    estimator text,
    n_opt real check (n_opt > 0 and n_opt < 9e999),
    n_opt_low real check (n_opt_low > 0 and n_opt_low <= n_opt),
    n_opt_high real check (n_opt_high >= n_opt and n_opt_high < 9e999),
    flops_spent real not null check (flops_spent >= 0 and flops_spent < 9e999),
    hours_spent real not null check (hours_spent >= 0 and hours_spent < 9e999),
    verdict text not null
        check (verdict in ('grow', 'met', 'hours_gone', 'no_gain', 'no_valley', 'out_of_reach')),
    why text not null,
    hint text not null,
    new_flops real not null check (new_flops >= 0 and new_flops < 9e999),
    new_hours real check (new_hours >= 0 and new_hours < 9e999),
    expected_span real check (expected_span >= 1 and expected_span < 9e999),
    new_runs text not null,
    primary key (sweep, round)
) strict
"""

# What steps of shapes took before runs of them were trained. Only ever inserted: the latest of equal ones counts.
_MEASUREMENTS = """
create table measurements (
    id integer primary key,
    device text not null,
    device_kind text not null check (device_kind in ('cpu', 'cuda')),
    host text not null,
    n_at_once integer not null check (n_at_once > 0),
    n_packed integer not null check (n_packed > 0),
    shape text not null,
    batch_tokens integer not null check (batch_tokens > 0),
    optimizer text not null,
    execution text not null,
    n_steps integer not null check (n_steps > 0),
    seconds_per_step real not null check (seconds_per_step > 0 and seconds_per_step < 9e999),
    eval_tokens integer not null check (eval_tokens > 0),
    eval_seconds real not null check (eval_seconds >= 0 and eval_seconds < 9e999),
    checkpoint_seconds real not null check (checkpoint_seconds >= 0 and checkpoint_seconds < 9e999),
    beside_seconds real not null check (beside_seconds >= 0 and beside_seconds < 9e999),
    memory_bytes real not null check (memory_bytes >= 0 and memory_bytes < 9e999),
    isoflop_version text not null,
    measured_at text not null
) strict
"""


def m0006_steering_rounds(db: Database) -> None:
    """Rounds of sweeps that steer themselves, from before their runs were trained."""
    db.execute(_STEERING_ROUNDS)


def m0007_measurements(db: Database) -> None:
    """What steps of shapes took on a device before the sweep."""
    db.execute(_MEASUREMENTS)


def m0008_engines(db: Database) -> None:
    """What started a worker, where that was not this machine, and its own name for the job that the worker ran in."""
    for table in ("results", "attempts"):
        for column in ("engine", "engine_job"):
            db.execute(f"alter table {table} add column {column} text")


ORDERED = (
    m0001_sweeps_runs_and_results,
    m0002_utilisation,
    m0003_predictions,
    m0004_metrics,
    m0005_runs_of_programs,
    m0006_steering_rounds,
    m0007_measurements,
    m0008_engines,
)

migrations = Migrations("isoflop")
for _migration in ORDERED:
    migrations()(_migration)
