-- No program, not even this one, changes or removes a row of the audit log by accident.
CREATE TRIGGER greenroom_audit_no_update BEFORE UPDATE ON greenroom_audit
BEGIN
    SELECT RAISE(ABORT, 'greenroom_audit is append-only');
END;

CREATE TRIGGER greenroom_audit_no_delete BEFORE DELETE ON greenroom_audit
BEGIN
    SELECT RAISE(ABORT, 'greenroom_audit is append-only');
END;
