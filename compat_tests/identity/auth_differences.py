"""Where the auth API answers otherwise than MLflow's app basic-auth on purpose.

`differential/known_differences.py` writes these to docs/known_differences.md as well."""

from dataclasses import dataclass, field

OLD, NEW = "3.6.0", "3.17.2"


@dataclass
class Difference:
    """One known difference; where names the calls, genuine and ours what each server does.

    cases are calls of auth_tour.py, by version of the client and the server: what the answers come to, genuine's first."""

    id: str
    where: str
    genuine: str
    ours: str
    why: str
    cases: dict = field(default_factory=dict)


REFUSED = "INVALID_PARAMETER_VALUE"
USER = {"id": "<id>", "username": "<u>-ann", "is_admin": False, "experiment_permissions": [], "registered_model_permissions": []}


def _permission(type, pattern):
    return {"id": "<id>", "role_id": "<id>", "resource_type": type, "resource_pattern": pattern, "permission": "READ"}


DIFFERENCES = [
    Difference(
        "errors-of-basic-auth-are-json",
        "any call",
        "answers 401, 403 and some 400 in plain text; the text of others has the database's error and the SQL statement",
        "answers MLflow's JSON error: CUSTOMER_UNAUTHORIZED with what to set, PERMISSION_DENIED with who needs what on which object",
        "clients show the message",
    ),
    Difference(
        "passwords-as-in-3.17",
        "users/update-password of a client before 3.17",
        "its 3.6 takes a short password, and a user's own new one without the current one",
        "asks for 12 characters, and for current_password, which these clients cannot send: an administrator changes the password",
        "who finds an open session must not be able to take the account",
        {
            (OLD, "change a user's password to a short one"): (None, REFUSED),
            (OLD, "a user changes her password"): (None, REFUSED),
            (OLD, "a user uses her old password"): ("UNAUTHENTICATED", USER),
            (OLD, "a user uses her new password"): (USER, "CUSTOMER_UNAUTHORIZED"),
        },
    ),
    Difference(
        "one-workspace",
        "roles/create",
        "makes roles of workspaces that do not exist",
        "answers 400: there is one workspace, default",
        "such a role would have no effect",
        {
            (NEW, "create a role of a workspace that is not there"): (
                {"id": "<id>", "name": "<u>-role", "workspace": "no-such-workspace", "description": None, "permissions": []},
                REFUSED,
            ),
        },
    ),
    Difference(
        "permissions-without-effect",
        "roles/permissions/add, users/permissions/grant",
        "takes an empty pattern, and the types run, logged_model, prompt and others that have tiers of their own",
        "answers 400: runs and logged models are in the hands of their experiment's users, versions and prompts of their model's",
        "a DENY on runs that nothing heeds would be believed",
        {
            (NEW, "add without a pattern"): (_permission("experiment", ""), REFUSED),
            (NEW, "add for runs"): (_permission("run", "*"), REFUSED),
            (NEW, "add for prompts"): (_permission("prompt", "*"), REFUSED),
        },
    ),
    Difference(
        "managers-see-permissions",
        "users/permissions/get",
        "tells another's permission to administrators only",
        "tells it also to who has MANAGE on the object",
        "they may grant and revoke it",
        {
            (NEW, "experiment: the creator gets another's"): ("PERMISSION_DENIED", {"allowed": False, "permission": "READ"}),
            (NEW, "registered_model: the creator gets another's"): (
                "PERMISSION_DENIED",
                {"allowed": False, "permission": "READ"},
            ),
        },
    ),
]

CASES = {case: answers for one in DIFFERENCES for case, answers in one.cases.items()}
