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
    results.finished_at, coalesce(own.device, results.device) as worker, latest.log_path,
    coalesce(latest.n_attempts, 0) as n_attempts, exclusions.reason as excluded
from cells
left join runs on runs.run_id = cells.run_id
left join results on results.run_id = cells.run_id
left join attempts as own on own.run_id = results.run_id and own.attempt = results.attempt
left join exclusions on exclusions.run_id = cells.run_id
left join (
    select run_id, log_path, count(*) as n_attempts, max(attempt) from attempts group by run_id
) as latest on latest.run_id = cells.run_id
where cells.sweep = ? order by cells.id
"""

CELLS_BESIDE_GRID = CELLS.replace("order by", "and cells.role in ('suggested', 'confirm') order by")

CURVES = """
select run_id, step, n_tokens, loss from curves
where run_id in (select run_id from cells where sweep = ?) order by run_id, step
"""

METRICS = """
select * from metrics where run_id in (select run_id from cells where sweep = ?) order by run_id, name
"""

PENDING = """
select cells.run_id from cells left join results on results.run_id = cells.run_id
where cells.sweep = ? and cells.run_id is not null and results.run_id is null
group by cells.run_id order by min(cells.id)
"""

# A result that a program had left before its worker was killed has no time, and some report no FLOPs.
TIMINGS = """
select runs.shape, case runs.trainer when 'command' then 0 else results.n_steps end as n_steps,
    results.achieved_flops, results.seconds, results.device, coalesce(attempts.device, results.device) as worker
from results join runs on runs.run_id = results.run_id
    left join attempts on attempts.run_id = results.run_id and attempts.attempt = results.attempt
where results.status = 'completed' and not results.simulated and results.seconds > 0
    and results.achieved_flops > 0
    and case runs.trainer when 'command' then json_extract(runs.spec_json, '$.argv') end is ?
order by results.recorded_at desc, results.rowid desc limit ?
"""

# The oldest first, so that the last of equal ones is the latest.
MEASUREMENTS = """
select * from (select * from measurements order by id desc limit ?) order by id
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

ROUNDS = "select * from steering_rounds where sweep = ? order by round"

# As they were inserted: of each budget the optimum first.
PREDICTIONS = "select * from predictions where sweep = ? order by rowid"

KNOWN_RUNS = """
select runs.run_id, runs.corpus_fingerprint, results.status, results.finished_at,
    exists (select 1 from cells where cells.run_id = runs.run_id) as asked_for
from runs left join results on results.run_id = runs.run_id
"""

PLANNED_RUNS = """
select cells.run_id, cells.budget_flops, runs.n_params_total as n_params, runs.n_tokens, results.status
from cells join runs on runs.run_id = cells.run_id left join results on results.run_id = cells.run_id
where cells.sweep = ? order by cells.budget_flops, runs.n_params_total, runs.seed
"""

# What a run says in its columns and again in its specification. SQLite reads decimals to about 17 digits.
ALTERED_RUN = """
select run_id from runs where case when json_valid(spec_json) and json_valid(shape) then
    json_extract(spec_json, '$.trainer') is not trainer
    or json_extract(spec_json, '$.shape') is not json(shape)
    or json_extract(spec_json, '$.n_steps') is not n_steps
    or coalesce(abs(planned_flops / n_tokens / flops_per_token - 1) > 1e-9, true)
    or case trainer when 'command' then json_extract(spec_json, '$.n_tokens') is not n_tokens else
        json_extract(spec_json, '$.batch_sequences') * json_extract(spec_json, '$.shape.context_length')
            is not batch_tokens
        or n_steps * batch_tokens is not n_tokens
        or coalesce(abs(json_extract(spec_json, '$.optimizer.learning_rate') / learning_rate - 1) > 1e-9, true)
    end
    or json_extract(spec_json, '$.seed') is not seed
    or json_extract(spec_json, '$.corpus_fingerprint') is not corpus_fingerprint
    or json_extract(spec_json, '$.tokenizer') is not tokenizer
else true end limit 1
"""

# Suggested runs, probes and controls may open budgets of their own.
# A cell that was dropped keeps no role: it may have been suggested, at a budget of its own.
GRID_BUDGETS = "select distinct sweep, budget_flops from cells where role in ('grid', 'replicate')"

# A plan's cells are written at once, so their numbers follow each other.
SWEEPS_WITHOUT_CELLS = """
select name from sweeps left join (
    select sweep, max(id) - min(id) + 1 - count(*) as n_missing from cells group by sweep
) as counted on counted.sweep = name where n_missing is not 0 limit 1
"""

# Of runs that completed in a worker of isoflop (what another program left says less of its execution). Such a run says
# its loss twice, in nats and in bits per byte; a simulated one has the noise it was drawn with beside it. What the
# second is to the first is one number for all runs of a text (of the surface).
_OWN = """results.status = 'completed'
    and case when json_valid(results.execution) then json_extract(results.execution, '$.eval_batch_tokens') end"""
_SECOND_LOSSES = f"""
select results.run_id, case runs.trainer when 'simulated' then val_loss_se else bits_per_byte end / val_loss as ratio,
    runs.trainer || ' ' || runs.tokenizer || ' ' || runs.corpus_fingerprint || ' ' || results.isoflop_version as text
from results join runs on runs.run_id = results.run_id where {_OWN}
"""  # noqa: S608  all of it is our own
TEXTS_WITH_TWO_RATIOS = f"""
select text from ({_SECOND_LOSSES}) group by text having max(ratio) - min(ratio) > 1e-12 * abs(max(ratio)) limit 1
"""  # noqa: S608  likewise
RATIOS_OF_TEXT = f"select run_id, ratio from ({_SECOND_LOSSES}) where text = ? and ratio is not null"  # noqa: S608

# The trainer leaves a point of a curve after every so many steps and one after the last: at least 64 where the run has
# as many steps.
CUT_CURVES = f"""
select results.run_id from results join runs on runs.run_id = results.run_id left join (
    select run_id, count(*) as n_points, min(step) as every, max(step) as last from curves group by run_id
) as curve on curve.run_id = results.run_id
where runs.trainer = 'builtin' and {_OWN} and (
    n_points is null or last <> results.n_steps or every > max(1, last / 64) or n_points <> (last + every - 1) / every
    or exists (
        select 1 from curves where curves.run_id = results.run_id
        and ((step % every <> 0 and step <> last) or curves.n_tokens <> step * runs.batch_tokens)
    )
) limit 1
"""  # noqa: S608  likewise
