"""Whether the policies of a role allow a call: the small part of IAM's rules that this project's policies use.

`RolePolicies.read` takes every document that the role has in AWS. A call is allowed when for each of its resources some
Allow statement fits and no Deny does. It knows Action and Resource with * and ?, and the conditions StringEquals,
StringLike, ArnEquals and ArnLike, with IfExists too; anything else is an error, so that nothing is passed over in
silence.
"""

import fnmatch
import json
import urllib.parse
from collections.abc import Mapping
from typing import Any

from tests.box.gate import Call

_CONDITIONS = ("StringEquals", "StringLike", "ArnEquals", "ArnLike")


class RolePolicies:
    """The statements of one role; `context` gives condition keys that hold for every call of an instance."""

    def __init__(self, statements: list[dict[str, Any]], context: Mapping[str, str]) -> None:
        self.statements, self.context = statements, context

    @classmethod
    def read(cls, iam: Any, role: str, context: Mapping[str, str]) -> "RolePolicies":
        """The inline and attached documents of `role`, asked of the boto3 client `iam`."""
        documents = [
            iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
            for name in iam.list_role_policies(RoleName=role)["PolicyNames"]
        ]
        for attached in iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]:
            arn = attached["PolicyArn"]
            version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
            documents.append(iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"])
        parsed = [json.loads(urllib.parse.unquote(one)) if isinstance(one, str) else one for one in documents]
        return cls([statement for document in parsed for statement in _listed(document["Statement"])], context)

    def allows(self, call: Call) -> bool:
        """Whether the role may make `call`."""
        return all(self._decides(call, one, "Allow") and not self._decides(call, one, "Deny") for one in call.resources)

    def _decides(self, call: Call, resource: str, effect: str) -> bool:
        context = {**self.context, **call.context}
        return any(
            statement["Effect"] == effect
            and any(_fits(call.action.lower(), pattern.lower()) for pattern in _listed(statement["Action"]))
            and any(_fits(resource, pattern) for pattern in _listed(statement["Resource"]))
            and _holds(statement.get("Condition", {}), context)
            for statement in self.statements
        )


def _holds(conditions: Mapping[str, Mapping[str, Any]], context: Mapping[str, str]) -> bool:
    for kind, wanted in conditions.items():
        assert kind.removesuffix("IfExists") in _CONDITIONS, f"the matcher does not know the condition {kind}"
        for key, patterns in wanted.items():
            own = context.get(key)
            if own is None and kind.endswith("IfExists"):
                continue
            if own is None or not any(_fits(own, pattern) for pattern in _listed(patterns)):
                return False
    return True


def _fits(value: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(value, pattern.replace("[", "[[]"))


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
