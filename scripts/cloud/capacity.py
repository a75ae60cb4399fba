"""Why a group has no instance, in words: what Auto Scaling writes about its attempts, with what to do about it.

Auto Scaling's own text is always quoted, so that a cause that is not known here is not hidden. It asks nobody.
Sources: the messages in "Troubleshoot Amazon EC2 Auto Scaling" and the error codes of the EC2 API reference.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

_QUOTED = 255
_GPU_QUOTA = ("All G and VT Spot Instance Requests", "L-3819A6DF")
_CPU_QUOTA = ("All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests", "L-34B43A08")


class Cause(NamedTuple):
    """Why no instance comes: a sentence or two, and whether waiting alone may mend it."""

    text: str
    passing: bool


def explain(message: str, region: str, instance_types: Sequence[str]) -> Cause:
    """What the status message of a failed attempt to launch one of `instance_types` means."""
    known = (cause for cause in _CAUSES if re.search(cause[0], message, re.IGNORECASE))
    _, text, passing = next(known, ("", "The group could not launch an instance.", True))
    quota, code = _GPU_QUOTA if any(re.match("g|vt", one) for one in instance_types) else _CPU_QUOTA
    words = " ".join(message.split())[:_QUOTED]
    return Cause(f'{text.format(region=region, quota=quota, code=code)} AWS says: "{words}"', passing)


_APPLY = "run `terraform -chdir=terraform apply`"
_CAUSES = [
    (
        r"MaxSpotInstanceCountExceeded|max spot instance count exceeded|vcpu ?limit|InstanceLimitExceeded",
        "The account may not run so many spot vCPUs: a new account's quota is often 0 until more is asked for. Ask for "
        '4 or more of "{quota}" at '
        "https://{region}.console.aws.amazon.com/servicequotas/home/services/ec2/quotas/{code} ; AWS takes minutes to "
        "days, and the group tries again by itself.",
        False,
    ),
    (
        r"not eligible for Free Tier|not authorized to (use|launch).*instance type",
        "The account's plan does not allow this instance type: AWS's free plan has no GPU. Upgrade to the paid plan at "
        "https://console.aws.amazon.com/billing/home#/account (credits stay), then `make pair` again.",
        False,
    ),
    (
        r"\bBlocked\b|account is (currently )?(blocked|suspended)|AccountProblem|not recognized as a valid account",
        "AWS has blocked the account: a payment or a verification is missing, or AWS suspects that its keys were "
        "stolen. Read AWS's mails and answer in https://console.aws.amazon.com/support/home ; nothing here mends it.",
        False,
    ),
    (
        r"not subscribed to this service|accept terms and subscribe",
        "The account is not subscribed to what is launched: its sign-up was never finished, or ami_id is an image of "
        f"the Marketplace whose terms nobody accepted. Finish it in the console, or set ami_id to null and {_APPLY}.",
        False,
    ),
    (
        r"architecture.* does not match",
        "The instance type has another processor than the image: the images are x86_64, and types with a g behind "
        "their number (g5g, c7g) are ARM. Name x86_64 instance_types in terraform.tfvars, or set ami_id to null, and "
        f"{_APPLY}.",
        False,
    ),
    (
        r"smaller than snapshot|InvalidBlockDeviceMapping",
        "The disk is smaller than the image asks for. Raise volume_gb in terraform.tfvars to the size that AWS names, "
        f"and {_APPLY}.",
        False,
    ),
    (
        r"VolumeLimitExceeded|MaxIOPSLimitExceeded|maximum .*storage limit",
        "The account may not have so much disk. Lower volume_gb in terraform.tfvars, or ask for more EBS storage at "
        "https://{region}.console.aws.amazon.com/servicequotas/home/services/ebs/quotas .",
        False,
    ),
    (
        r"not enough free addresses|InsufficientFreeAddressesInSubnet",
        "The deployment's subnet has no address left: something else was put into its network and holds them all. End "
        "that in the console (EC2, Network Interfaces), then `make pair` again.",
        False,
    ),
    (
        r"launch template.*(not exist|cannot be found|not found|could not)|InvalidLaunchTemplate|"
        r"(security group|subnet)\b.*not exist|InvalidGroup\.NotFound|InvalidSubnet|"
        r"(launch template|security group).*deleted",
        "Something that Terraform made for the instance (its launch template, security group or subnet) is gone. "
        f"{_APPLY.capitalize()}; it makes what is missing.",
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
