"""Why a group has no instance, in words: what Auto Scaling writes about its attempts, with what to do about it.

Auto Scaling's own text is always quoted, so that a cause that is not known here is not hidden. It asks nobody.
Sources: the messages in "Troubleshoot Amazon EC2 Auto Scaling" and the error codes of the EC2 API reference.
"""

import re
from typing import NamedTuple

_QUOTED = 255


class Cause(NamedTuple):
    """Why no instance comes: a sentence or two, and whether waiting alone may mend it."""

    text: str
    passing: bool


def explain(message: str, region: str) -> Cause:
    """What the status message of a failed attempt means."""
    known = (cause for cause in _CAUSES if re.search(cause[0], message, re.IGNORECASE))
    _, text, passing = next(known, ("", "The group could not launch an instance.", True))
    words = " ".join(message.split())[:_QUOTED]
    return Cause(f'{text.format(region=region)} AWS says: "{words}"', passing)


_CAUSES = [
    (
        r"MaxSpotInstanceCountExceeded|max spot instance count exceeded|spot vcpu limit|VcpuLimitExceeded",
        "The account may not run so many spot vCPUs: for GPU instances the quota is 0 until it is asked for. Ask for 4 "
        'or more of "All G and VT Spot Instance Requests" (a CPU run: "All Standard Spot Instance Requests") at '
        "https://{region}.console.aws.amazon.com/servicequotas/home/services/ec2/quotas/L-3819A6DF ; AWS takes minutes "
        "to days, and the group tries again by itself.",
        False,
    ),
    (
        r"SpotMaxPriceTooLow|price-too-low|lower than the minimum required|maximum price",
        "The highest price that may be paid is below today's spot price. Raise max_spot_price in terraform.tfvars, or "
        "set it to null (the on-demand price is then the limit), and run `terraform -chdir=terraform apply`.",
        False,
    ),
    (
        r"InvalidAMIID|image id '.*' does not exist|AMI.*(not exist|invalid)|InvalidParameterCombination.*AMI",
        "The machine image does not exist in {region}, or not any more. Set ami_id in terraform.tfvars to null (the "
        "newest one) or to one that exists, and run `terraform -chdir=terraform apply`.",
        False,
    ),
    (
        r"InsufficientInstanceCapacity|no spot capacity|capacity-not-available|UnfulfillableCapacity|"
        r"sufficient .*capacity",
        "AWS has no spot capacity left for these instance types in {region} just now. The group keeps trying; more "
        "entries in instance_types (terraform.tfvars) find one sooner. Another region may have some, too, but not by a "
        "change of region alone: `make fetch`, `terraform -chdir=terraform destroy`, and only then change it.",
        True,
    ),
    (
        r"not supported in your requested Availability Zone|configuration is currently not supported|Unsupported",
        "Not every zone of {region} has this instance type. The group goes on to other zones and types; more entries "
        "in instance_types (terraform.tfvars) help.",
        True,
    ),
    (
        r"PendingVerification|request for accessing resources in this region is being validated|OptInRequired",
        "AWS is still checking this account or its use of {region}; that takes minutes up to four hours, and AWS sends "
        "a mail. The group tries again by itself.",
        False,
    ),
    (
        r"service-linked role|ServiceLinkedRoleCreationNotPermitted",
        "The account has no service-linked role for spot instances yet. Create it once: "
        "`aws iam create-service-linked-role --aws-service-name spot.amazonaws.com`.",
        False,
    ),
    (
        r"UnauthorizedOperation|not authorized",
        "Auto Scaling may not launch this template. Run `terraform -chdir=terraform apply` again; if it stays so, a "
        "policy of the account or its organisation forbids it.",
        False,
    ),
    (
        r"InvalidKeyPair|key pair '.*' does not exist",
        "The key pair does not exist in {region}. Mend key_pair_name in terraform.tfvars (null goes by Session "
        "Manager) and run `terraform -chdir=terraform apply`.",
        False,
    ),
    (
        r"Client\.InternalError|KMS|key.*(state|disabled|inaccessible)",
        "The disk's encryption key cannot be used by Auto Scaling. The account's default EBS key needs a grant for the "
        "Auto Scaling service-linked role.",
        False,
    ),
]
