"""Every method of MLflow's AuthServiceClient, and every way to call it wrongly, run by a client of its own environment.

``python auth_tour.py PREFIX ADMIN PASSWORD`` calls the server at MLFLOW_TRACKING_URI and writes one JSON line per call:
``{"call": …, "answer": …}`` or ``{"call": …, "error": error code, "message": …}``. What a server chooses itself is masked.
"""

import json
import os
import re
import sys

import mlflow
import requests
from mlflow.exceptions import MlflowException
from mlflow.server import get_app_client
from mlflow.server.auth.client import AuthServiceClient
from mlflow.tracking import MlflowClient

LONG = "a long enough password"
NEW = "another long password"


class Recorder:
    """Makes calls, as one user or another, and writes down what came of them."""

    def __init__(self, prefix, out):
        self.prefix, self._out = prefix, out
        self._known = {}  # a text that the server chose: what stands for it

    def login(self, name, password):
        """Makes the next calls as this user: the client reads its variables at each call."""
        os.environ.update(MLFLOW_TRACKING_USERNAME=name, MLFLOW_TRACKING_PASSWORD=password)

    def keep(self, word, value):
        """Masks a text that the server chose."""
        self._known[str(value)] = "<" + word + ">"
        return value

    def __call__(self, call, function, /, *arguments, **named):
        """What the call gives; None if the server refuses it."""
        line = {"call": call}
        result = None
        try:
            result = function(*arguments, **named)
            line["answer"] = self._plain(result)
        except MlflowException as error:
            line.update(error=error.error_code, message=self._text(str(error)))
        except Exception as error:
            line.update(error=type(error).__name__, message=self._text(str(error)))
        self._out.write(json.dumps(line) + "\n")
        self._out.flush()
        return result

    def _text(self, text):
        if text in self._known:
            return self._known[text]
        text = text.replace(self.prefix, "<u>").replace(os.environ["MLFLOW_TRACKING_URI"], "<server>")
        text = re.sub(r"__user_\d+__", "<own role>", text)
        return re.sub(r"(id=|experiment )\d+", r"\1<id>", text)

    def _plain(self, value, field=""):
        if hasattr(value, "to_json"):
            return self._plain(value.to_json())
        if isinstance(value, dict):
            return {key: self._plain(item, key) for key, item in sorted(value.items())}
        if isinstance(value, (list, tuple)):
            return [self._plain(item) for item in value]
        if isinstance(value, int) and not isinstance(value, bool) and field.endswith("id"):
            return "<id>"
        return self._text(value) if isinstance(value, str) else value


def users(ask, auth, admin):
    """Users, by the administrator."""
    ann, bob = ask.prefix + "-ann", ask.prefix + "-bob"
    ask("create a user", auth.create_user, ann, LONG)
    ask("create a second user", auth.create_user, bob, LONG)
    ask("create a user twice", auth.create_user, ann, LONG)
    ask("create a user without a name", auth.create_user, "", LONG)
    ask("create a user without a password", auth.create_user, ask.prefix + "-x", "")
    ask("create a user with a short password", auth.create_user, ask.prefix + "-x", "elevenchars")
    ask("get a user", auth.get_user, ann)
    ask("get a user who does not exist", auth.get_user, ask.prefix + "-nobody")
    ask("make a user an administrator", auth.update_user_admin, ann, True)
    ask("get an administrator", auth.get_user, ann)
    ask("make an administrator a user", auth.update_user_admin, ann, False)
    ask("make one who does not exist an administrator", auth.update_user_admin, ask.prefix + "-nobody", True)
    ask("change a user's password", auth.update_user_password, bob, NEW)
    ask("change a user's password to a short one", auth.update_user_password, bob, "short")
    ask("change the password of one who does not exist", auth.update_user_password, ask.prefix + "-nobody", NEW)
    ask("delete a user", auth.delete_user, bob)
    ask("get a deleted user", auth.get_user, bob)
    ask("delete a user twice", auth.delete_user, bob)
    ask("create a deleted user anew", auth.create_user, bob, LONG)
    return ann, bob


def users_by_others(ask, auth, admin, ann, bob, current_password):
    """What users may do with themselves and others, and what strangers may."""
    ask.login(ann, LONG)
    ask("a user gets herself", auth.get_user, ann)
    ask("a user gets another", auth.get_user, bob)
    ask("a user creates a user", auth.create_user, ask.prefix + "-x", LONG)
    ask("a user makes herself an administrator", auth.update_user_admin, ann, True)
    ask("a user changes another's password", auth.update_user_password, bob, NEW)
    ask("a user deletes another", auth.delete_user, bob)
    ask("a user deletes herself", auth.delete_user, ann)
    if current_password:
        ask("a user changes her password without the current one", auth.update_user_password, ann, NEW)
        ask("a user changes her password with a wrong one", auth.update_user_password, ann, NEW, current_password="wrong")
        ask("a user changes her password", auth.update_user_password, ann, NEW, current_password=LONG)
    else:
        ask("a user changes her password", auth.update_user_password, ann, NEW)
    ask("a user uses her old password", auth.get_user, ann)
    ask.login(ann, NEW)
    ask("a user uses her new password", auth.get_user, ann)
    ask.login(ask.prefix + "-nobody", LONG)
    ask("a stranger gets a user", auth.get_user, ann)
    ask.login(*admin)


def permissions_3_6(ask, auth, admin, kind, own, other, ann, bob):
    """The calls of clients up to 3.6 on one kind of object: own and other are objects that ann made, and did not."""
    create, get = getattr(auth, f"create_{kind}_permission"), getattr(auth, f"get_{kind}_permission")
    update, delete = getattr(auth, f"update_{kind}_permission"), getattr(auth, f"delete_{kind}_permission")
    nobody, nothing = ask.prefix + "-nobody", {"experiment": "987654321"}.get(kind, ask.prefix + "-nothing")
    ask(f"{kind}: get the creator's", get, own, ann)
    ask(f"{kind}: get one that is not there", get, own, bob)
    for level in ("READ", "EDIT", "MANAGE", "NO_PERMISSIONS"):
        ask(f"{kind}: grant {level}", create, other, bob, level)
        ask(f"{kind}: get {level}", get, other, bob)
        ask(f"{kind}: delete {level}", delete, other, bob)
    ask(f"{kind}: grant", create, other, bob, "READ")
    ask(f"{kind}: grant twice", create, other, bob, "EDIT")
    ask(f"{kind}: change", update, other, bob, "EDIT")
    ask(f"{kind}: get the changed", get, other, bob)
    ask(f"{kind}: change to an unknown level", update, other, bob, "OWN")
    ask(f"{kind}: change one that is not there", update, other, ann, "EDIT")
    ask(f"{kind}: grant an unknown level", create, other, ann, "OWN")
    ask(f"{kind}: grant to nobody", create, other, nobody, "READ")
    ask(f"{kind}: get nobody's", get, other, nobody)
    ask(f"{kind}: grant on nothing", create, nothing, bob, "READ")
    ask(f"{kind}: get on nothing", get, nothing, ann)
    ask.login(ann, NEW)
    ask(f"{kind}: the creator grants", create, own, bob, "READ")
    ask(f"{kind}: another grants", create, other, ann, "MANAGE")
    ask.login(bob, LONG)
    ask(f"{kind}: a reader grants himself more", update, own, bob, "MANAGE")
    ask(f"{kind}: a reader reads his", get, own, bob)
    ask.login(*admin)
    ask(f"{kind}: delete", delete, other, bob)
    ask(f"{kind}: delete twice", delete, other, bob)


def add_and_remove(ask, auth, call, *permission):
    """Adds a permission that is not to be in the lists."""
    made = ask(call, auth.add_role_permission, *permission)
    if made:
        auth.remove_role_permission(made.id)


def roles(ask, auth, experiment):
    """Roles and their permissions, by the administrator."""
    name = ask.prefix + "-role"
    role = ask("create a role", auth.create_role, "default", name, "scores churn")
    ask("create a role without a description", auth.create_role, "default", name + "-b")
    ask("create a role twice", auth.create_role, "default", name)
    ask("create a role without a name", auth.create_role, "default", "")
    elsewhere = ask("create a role of a workspace that is not there", auth.create_role, "no-such-workspace", name)
    if elsewhere:
        auth.delete_role(elsewhere.id)
    ask("create a role with a reserved name", auth.create_role, "default", "__user_1__")
    ask("get a role", auth.get_role, role.id)
    ask("get a role that is not there", auth.get_role, 987654321)
    ask("get a role by a word", auth.get_role, "first")

    def ours(found):
        return sorted((one.to_json() for one in found if one.name.startswith(ask.prefix)), key=lambda one: one["name"])

    ask("list roles", lambda: ours(auth.list_roles("default")))
    ask("list roles of a workspace that is not there", lambda: ours(auth.list_roles("no-such-workspace")))
    ask("list all roles", lambda: ours(auth.list_all_roles()))
    ask("rename a role", auth.update_role, role.id, name=name + "-c")
    ask("describe a role", auth.update_role, role.id, description="serves churn")
    ask("rename a role to a taken name", auth.update_role, role.id, name=name + "-b")
    ask("update nothing of a role", auth.update_role, role.id)
    ask("update a role that is not there", auth.update_role, 987654321, name=name)
    first = ask("add a permission", auth.add_role_permission, role.id, "experiment", experiment, "READ")
    ask("add a permission twice", auth.add_role_permission, role.id, "experiment", experiment, "EDIT")
    for level in ("USE", "MANAGE", "DENY"):
        ask(f"add {level}", auth.add_role_permission, role.id, "registered_model", f"{ask.prefix}-{level}", level)
    ask("add for everything", auth.add_role_permission, role.id, "registered_model", "*", "EDIT")
    ask("add for the workspace", auth.add_role_permission, role.id, "workspace", "*", "USE")
    ask("add an unknown level", auth.add_role_permission, role.id, "experiment", "5", "OWN")
    ask("add NO_PERMISSIONS", auth.add_role_permission, role.id, "experiment", "5", "NO_PERMISSIONS")
    ask("add READ for the workspace", auth.add_role_permission, role.id, "workspace", "*", "READ")
    ask("add for a named workspace", auth.add_role_permission, role.id, "workspace", "default", "USE")
    ask("add for an unknown type", auth.add_role_permission, role.id, "dashboard", "*", "READ")
    add_and_remove(ask, auth, "add without a pattern", role.id, "experiment", "", "READ")
    ask("add for an experiment's name", auth.add_role_permission, role.id, "experiment", "churn", "READ")
    ask("add for a part of names", auth.add_role_permission, role.id, "registered_model", "churn-*", "READ")
    add_and_remove(ask, auth, "add for runs", role.id, "run", "*", "READ")
    add_and_remove(ask, auth, "add for prompts", role.id, "prompt", "*", "READ")
    ask("add to a role that is not there", auth.add_role_permission, 987654321, "experiment", "5", "READ")
    by_pattern = lambda one: (one["resource_type"], one["resource_pattern"])
    ask("list permissions", lambda: sorted((one.to_json() for one in auth.list_role_permissions(role.id)), key=by_pattern))
    ask("list permissions of a role that is not there", auth.list_role_permissions, 987654321)
    ask("change a permission", auth.update_role_permission, first.id, "EDIT")
    ask("change a permission to an unknown level", auth.update_role_permission, first.id, "OWN")
    ask("change a permission that is not there", auth.update_role_permission, 987654321, "EDIT")
    ask("remove a permission", auth.remove_role_permission, first.id)
    ask("remove a permission twice", auth.remove_role_permission, first.id)
    return role


def assignments(ask, auth, admin, role, ann, bob):
    nobody = ask.prefix + "-nobody"
    ask("assign a role", auth.assign_role, ann, role.id)
    ask("assign a role twice", auth.assign_role, ann, role.id)
    ask("assign a role to nobody", auth.assign_role, nobody, role.id)
    ask("assign a role that is not there", auth.assign_role, ann, 987654321)
    ask("list a user's roles", lambda: sorted(one.name for one in auth.list_user_roles(ann) if "__" not in one.name))
    ask("list nobody's roles", auth.list_user_roles, nobody)
    ask("list a role's users", auth.list_role_users, role.id)
    ask("list the users of a role that is not there", auth.list_role_users, 987654321)
    ask.login(ann, NEW)
    ask("a user creates a role", auth.create_role, "default", ask.prefix + "-mine")
    ask("a user gets a role", auth.get_role, role.id)
    ask("a user lists roles", lambda: [one.name for one in auth.list_roles("default") if one.id == role.id])
    ask("a user changes a role", auth.update_role, role.id, name=ask.prefix + "-mine")
    ask("a user deletes a role", auth.delete_role, role.id)
    ask("a user adds a permission", auth.add_role_permission, role.id, "experiment", "*", "MANAGE")
    ask("a user assigns a role", auth.assign_role, bob, role.id)
    ask("a user lists her roles", lambda: sorted(one.name for one in auth.list_user_roles(ann) if "__" not in one.name))
    ask("a user lists another's roles", auth.list_user_roles, bob)
    ask.login(*admin)
    ask("unassign a role", auth.unassign_role, ann, role.id)
    ask("unassign a role twice", auth.unassign_role, ann, role.id)
    ask("delete a role", auth.delete_role, role.id)
    ask("delete a role twice", auth.delete_role, role.id)
    ask("get a deleted role", auth.get_role, role.id)


def permissions_3_17(ask, auth, admin, kind, own, other, ann, bob):
    """Direct permissions on one kind of object: own and other are objects that ann made, and did not."""
    nobody, nothing = ask.prefix + "-nobody", {"experiment": "987654321"}.get(kind, ask.prefix + "-nothing")
    grant, revoke, get = auth.grant_user_permission, auth.revoke_user_permission, auth.get_user_permission
    ask(f"{kind}: get the creator's", get, ann, kind, own)
    ask(f"{kind}: get one that is not there", get, bob, kind, own)
    for level in ("READ", "USE", "EDIT", "MANAGE", "DENY"):
        ask(f"{kind}: grant {level}", grant, bob, kind, other, level)
        ask(f"{kind}: get {level}", get, bob, kind, other)
        ask(f"{kind}: revoke {level}", revoke, bob, kind, other)
    ask(f"{kind}: grant", grant, bob, kind, other, "READ")
    ask(f"{kind}: grant twice", grant, bob, kind, other, "EDIT")
    ask(f"{kind}: grant NO_PERMISSIONS", grant, bob, kind, other, "NO_PERMISSIONS")
    ask(f"{kind}: grant an unknown level", grant, bob, kind, other, "OWN")
    ask(f"{kind}: grant to nobody", grant, nobody, kind, other, "READ")
    ask(f"{kind}: grant on nothing", grant, bob, kind, nothing, "READ")
    ask(f"{kind}: grant on an unknown type", grant, bob, "dashboard", other, "READ")
    ask(f"{kind}: revoke", revoke, bob, kind, other)
    ask(f"{kind}: get the revoked", get, bob, kind, other)
    ask(f"{kind}: revoke twice", revoke, bob, kind, other)
    ask(f"{kind}: revoke nobody's", revoke, nobody, kind, other)
    ask(f"{kind}: get nobody's", get, nobody, kind, other)
    ask(f"{kind}: get on nothing", get, ann, kind, nothing)
    ask(f"{kind}: get the administrator's", get, admin[0], kind, other)
    ask.login(ann, NEW)
    ask(f"{kind}: the creator grants", grant, bob, kind, own, "READ")
    ask(f"{kind}: the creator gets another's", get, bob, kind, own)
    ask(f"{kind}: a user grants herself on another's", grant, ann, kind, other, "MANAGE")
    ask(f"{kind}: a user gets another's", get, bob, kind, other)
    ask.login(bob, LONG)
    ask(f"{kind}: a reader grants himself more", grant, bob, kind, own, "MANAGE")
    ask(f"{kind}: a reader gets his", get, bob, kind, own)
    ask.login(ann, NEW)
    ask(f"{kind}: the creator revokes", revoke, bob, kind, own)
    ask.login(*admin)


def let_create(user, admin):
    """Lets a user create experiments and models, where that is not everybody's right as in genuine MLflow 3.6."""
    api = os.environ["MLFLOW_TRACKING_URI"] + "/api/3.0/mlflow/roles/"

    def post(path, **fields):
        return requests.post(api + path, json=fields, auth=admin, timeout=300)

    made = post("create", workspace="default", name=user + "-creator")
    if made.status_code != 404:
        role = made.json()["role"]["id"]
        post("permissions/add", role_id=role, resource_type="workspace", resource_pattern="*", permission="USE")
        post("assign", role_id=role, username=user).raise_for_status()


def main(prefix, name, password):
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # Clients print to standard output; the results have it for themselves.
    ask, admin, client = Recorder(prefix, out), (name, password), MlflowClient()
    ask.login(*admin)
    auth = get_app_client("basic-auth", tracking_uri=os.environ["MLFLOW_TRACKING_URI"])
    assert isinstance(auth, AuthServiceClient)
    new = tuple(map(int, mlflow.__version__.split(".")[:2])) >= (3, 17)
    ann, bob = users(ask, auth, admin)
    users_by_others(ask, auth, admin, ann, bob, current_password=new)
    other = {"experiment": ask.keep("other", client.create_experiment(prefix + "-other")), "registered_model": prefix + "-other"}
    client.create_registered_model(other["registered_model"])
    auth.update_user_password(ann, NEW)  # should she not have been able to
    let_create(ann, admin)
    ask.login(ann, NEW)
    own = {"experiment": ask.keep("own", client.create_experiment(prefix + "-own")), "registered_model": prefix + "-own"}
    client.create_registered_model(own["registered_model"])
    ask.login(*admin)
    if new:
        role = roles(ask, auth, own["experiment"])
        assignments(ask, auth, admin, role, ann, bob)
    for kind in own:
        tour = permissions_3_17 if new else permissions_3_6
        tour(ask, auth, admin, kind, own[kind], other[kind], ann, bob)


if __name__ == "__main__":
    main(*sys.argv[1:])
