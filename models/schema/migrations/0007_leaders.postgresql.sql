-- The runs with the greatest or least value of a metric, found without reading all that have it. The runs' ids would make it three
-- times as large, and each logged metric writes to it.
CREATE INDEX greenroom_latest_metrics_by_value ON latest_metrics (key, value) WHERE is_nan = FALSE;
