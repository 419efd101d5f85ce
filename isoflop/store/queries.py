"""The SQL that is longer than a line."""

# With max(), SQLite takes the other columns of a group from the row that has the maximum.
CELLS = """
select cells.sweep, cells.budget_flops, cells.role, cells.drop_reason, cells.run_id,
    coalesce(runs.shape, cells.shape) as shape, runs.n_tokens, runs.n_steps, runs.planned_flops, cells.epochs,
    runs.batch_tokens, runs.learning_rate, runs.seed, results.execution, results.status, results.reason,
    results.val_loss, results.val_loss_se, results.bits_per_byte,
    results.achieved_flops, results.spent_flops, results.seconds, results.tokens_per_second,
    results.model_flops_utilisation, results.n_tokens as achieved_tokens, results.simulated, results.host,
    results.device, results.git_commit, results.git_dirty, results.isoflop_version, results.torch_version,
    results.finished_at, latest.log_path, coalesce(latest.n_attempts, 0) as n_attempts, exclusions.reason as excluded
from cells
left join runs on runs.run_id = cells.run_id
left join results on results.run_id = cells.run_id
left join exclusions on exclusions.run_id = cells.run_id
left join (
    select run_id, log_path, count(*) as n_attempts, max(attempt) from attempts group by run_id
) as latest on latest.run_id = cells.run_id
where cells.sweep = ? order by cells.id
"""

CURVES = """
select run_id, step, n_tokens, loss from curves
where run_id in (select run_id from cells where sweep = ?) order by run_id, step
"""

PENDING = """
select cells.run_id from cells left join results on results.run_id = cells.run_id
where cells.sweep = ? and cells.run_id is not null and results.run_id is null
group by cells.run_id order by min(cells.id)
"""

TIMINGS = """
select runs.shape, results.n_steps, results.achieved_flops, results.seconds, results.device
from results join runs on runs.run_id = results.run_id
where results.status = 'completed' and not results.simulated
order by results.recorded_at desc, results.rowid desc limit ?
"""

# A result that goes leaves its trace; what the attempt's own record says is kept.
KEEP_AS_ATTEMPT = """
insert into attempts (run_id, attempt, host, device, ended_at, outcome, reason)
select run_id, attempt, host, device, finished_at, status, reason from results where run_id = ?
on conflict (run_id, attempt) do update set ended_at = coalesce(ended_at, excluded.ended_at),
    outcome = excluded.outcome, reason = excluded.reason
"""

# 'g' comes right after the last hexadecimal digit.
RUNS_STARTING_WITH = "select run_id from runs where run_id >= ? and run_id < ? || 'g' order by run_id"

# The list comes as one JSON text: SQLite bounds the number of parameters.
SWEEPS_ASKING_FOR = """
select distinct sweep from cells where run_id in (select value from json_each(?)) order by sweep
"""

KNOWN_RUNS = """
select runs.run_id, runs.corpus_fingerprint, results.status, results.finished_at,
    exists (select 1 from cells where cells.run_id = runs.run_id) as asked_for
from runs left join results on results.run_id = runs.run_id
"""

# What a run says in its columns and again in its specification. SQLite reads decimals to about 17 digits.
ALTERED_RUN = """
select run_id from runs where case when json_valid(spec_json) and json_valid(shape) then
    json_extract(spec_json, '$.trainer') is not trainer
    or json_extract(spec_json, '$.shape') is not json(shape)
    or json_extract(spec_json, '$.n_steps') is not n_steps
    or json_extract(spec_json, '$.batch_sequences') * json_extract(spec_json, '$.shape.context_length')
        is not batch_tokens
    or n_steps * batch_tokens is not n_tokens
    or coalesce(abs(planned_flops / n_tokens / flops_per_token - 1) > 1e-9, true)
    or coalesce(abs(json_extract(spec_json, '$.optimizer.learning_rate') / learning_rate - 1) > 1e-9, true)
    or json_extract(spec_json, '$.seed') is not seed
    or json_extract(spec_json, '$.corpus_fingerprint') is not corpus_fingerprint
    or json_extract(spec_json, '$.tokenizer') is not tokenizer
else true end limit 1
"""

# Suggested runs, probes and controls may open budgets of their own.
GRID_BUDGETS = """
select distinct sweep, budget_flops from cells where role is null or role in ('grid', 'replicate')
"""
