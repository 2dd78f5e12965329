-- Versions of a model by stage: the newest of one is found at once, however many versions are in others.
CREATE INDEX greenroom_model_versions_by_stage ON model_versions (workspace, name, current_stage, version);
