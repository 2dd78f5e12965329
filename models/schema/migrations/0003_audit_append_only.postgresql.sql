-- No program, not even this one, changes or removes a row of the audit log by accident.
CREATE OR REPLACE FUNCTION greenroom_audit_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'greenroom_audit is append-only';
END
$$;

CREATE TRIGGER greenroom_audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON greenroom_audit
    FOR EACH STATEMENT EXECUTE FUNCTION greenroom_audit_append_only();
