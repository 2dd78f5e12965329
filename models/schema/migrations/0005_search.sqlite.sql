-- Runs in the order in which a search gives them unless it is asked for another: a page is found by its first run.
CREATE INDEX greenroom_runs_by_start ON runs (experiment_id, lifecycle_stage, start_time DESC, run_uuid);
