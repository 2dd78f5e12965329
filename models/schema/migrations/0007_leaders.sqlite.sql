-- The runs with the greatest or least value of a metric, found without reading all that have it.
CREATE INDEX greenroom_latest_metrics_by_value ON latest_metrics (key, value, run_uuid) WHERE is_nan = FALSE;
