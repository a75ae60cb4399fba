# What an instance may do: only what it does, only to what is this deployment's.
data "aws_iam_policy_document" "assume" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["ec2.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "instance" {
  name               = local.name
  description        = "What the training instance of ${local.name} may do"
  assume_role_policy = data.aws_iam_policy_document.assume.json

  depends_on = [terraform_data.place]
}

resource "aws_iam_instance_profile" "instance" {
  name = local.name
  role = aws_iam_role.instance.name
}

locals {
  bucket_arn  = "arn:${local.partition}:s3:::${local.bucket_name}"
  regional    = "${var.region}:${local.account_id}"
  ec2_arn     = "arn:${local.partition}:ec2:${local.regional}"
  ssm_arn     = "arn:${local.partition}:ssm:${local.regional}:parameter"
  profile_arn = "arn:${local.partition}:iam::${local.account_id}:instance-profile/${local.name}"
}

data "aws_iam_policy_document" "instance" {
  #checkov:skip=CKV_AWS_111:Only Session Manager's channels and the public spot prices are not scoped; AWS offers nothing to scope them by
  #checkov:skip=CKV_AWS_356:The same two statements; each has its reason beside it
  # Without this a missing key reads 403 instead of 404, and "no checkpoint yet" looks like "not allowed".
  statement {
    sid       = "ListTheRunsObjects"
    actions   = ["s3:ListBucket"]
    resources = [local.bucket_arn]

    # IfExists: S3 asks for this right without a prefix when it decides how to answer for a key that is missing.
    condition {
      test     = "StringLikeIfExists"
      variable = "s3:prefix"
      values   = ["code/*", "env/*", "runs/*"]
    }
  }

  statement {
    sid     = "ReadTheCode"
    actions = ["s3:GetObject"]
    # wildcard: the objects of each version of the code; the bucket is ours.
    resources = ["${local.bucket_arn}/code/*"]
  }

  statement {
    sid     = "KeepTheRun"
    actions = ["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload"]
    # wildcard: the keys are made while training; no deletion is allowed, so versions keep what is replaced.
    resources = ["${local.bucket_arn}/runs/*", "${local.bucket_arn}/env/*"]
  }

  statement {
    sid     = "EndTheRun"
    actions = ["autoscaling:SetDesiredCapacity", "autoscaling:PutScheduledUpdateGroupAction"]
    # wildcard: AWS draws the group's id when the group is made, and this policy must exist before; the name is unique.
    resources = [
      "arn:${local.partition}:autoscaling:${local.regional}:autoScalingGroup:*:autoScalingGroupName/${local.group_name}"
    ]
  }

  dynamic "statement" {
    for_each = aws_eip.endpoint

    content {
      sid       = "ClaimTheAddress"
      actions   = ["ec2:AssociateAddress"]
      resources = [statement.value.arn]
    }
  }

  dynamic "statement" {
    for_each = aws_eip.endpoint

    content {
      sid     = "ForInstancesOfThisRole"
      actions = ["ec2:AssociateAddress"]
      # wildcard: the group draws new instances; the condition leaves only those with this profile.
      resources = ["${local.ec2_arn}:instance/*"]

      condition {
        test     = "ArnEquals"
        variable = "ec2:InstanceProfile"
        values   = [local.profile_arn]
      }
    }
  }

  dynamic "statement" {
    for_each = aws_eip.endpoint

    content {
      sid     = "OnInterfacesOfThisNetwork"
      actions = ["ec2:AssociateAddress"]
      # wildcard: each instance brings a new interface; the condition leaves only those of this VPC.
      resources = ["${local.ec2_arn}:network-interface/*"]

      condition {
        test     = "ArnEquals"
        variable = "ec2:Vpc"
        values   = [aws_vpc.main.arn]
      }
    }
  }

  statement {
    sid     = "ReadOurParameters"
    actions = ["ssm:GetParameter", "ssm:GetParameters"]
    # wildcard: every parameter under this deployment's name is meant for the instance.
    resources = ["${local.ssm_arn}${local.parameter_prefix}/*"]
  }

  statement {
    sid       = "PublishIdentityAndAddress"
    actions   = ["ssm:PutParameter"]
    resources = ["${local.ssm_arn}${local.tls_parameter}", "${local.ssm_arn}${local.endpoint_parameter}"]
  }

  dynamic "statement" {
    for_each = aws_ssm_parameter.certificate

    content {
      sid       = "KeepTheCertificate"
      actions   = ["ssm:PutParameter"]
      resources = ["${local.ssm_arn}${local.certificate_parameter}"]
    }
  }

  dynamic "statement" {
    for_each = data.aws_route53_zone.named

    content {
      sid       = "ProveTheName"
      actions   = ["route53:ChangeResourceRecordSets"]
      resources = ["arn:${local.partition}:route53:::hostedzone/${var.route53_zone_id}"]

      # Nothing else of the zone, not even the name's own address.
      condition {
        test     = "ForAllValues:StringEquals"
        variable = "route53:ChangeResourceRecordSetsNormalizedRecordNames"
        values   = ["_acme-challenge.${var.domain_name}"]
      }

      condition {
        test     = "ForAllValues:StringEquals"
        variable = "route53:ChangeResourceRecordSetsRecordTypes"
        values   = ["TXT"]
      }
    }
  }

  dynamic "statement" {
    for_each = data.aws_route53_zone.named

    content {
      sid     = "SeeThatTheProofIsThere"
      actions = ["route53:GetChange"]
      # wildcard: AWS draws the id of each change; it tells whether that is done, and nothing else.
      resources = ["arn:${local.partition}:route53:::change/*"]
    }
  }

  dynamic "statement" {
    for_each = aws_cloudwatch_log_group.instance

    content {
      sid     = "WriteTheLog"
      actions = ["logs:CreateLogStream", "logs:PutLogEvents"]
      # wildcard: one stream for each instance, in this one group.
      resources = ["${statement.value.arn}:log-stream:*"]
    }
  }

  statement {
    sid     = "KnowTheSpotPrice"
    actions = ["ec2:DescribeSpotPriceHistory"]
    # wildcard: AWS offers no resource to scope this action by; the prices are public.
    resources = ["*"]
  }

  # Session Manager's agent, its own actions only: the managed policy would let it read every parameter of the account.
  statement {
    sid = "OfferSessions"
    actions = [
      "ssm:UpdateInstanceInformation",
      "ssmmessages:CreateControlChannel",
      "ssmmessages:CreateDataChannel",
      "ssmmessages:OpenControlChannel",
      "ssmmessages:OpenDataChannel",
    ]
    # wildcard: AWS offers no resource to scope the channels by; each reaches only the session of its own instance.
    resources = ["*"]
  }
}

resource "aws_iam_role_policy" "instance" {
  #checkov:skip=CKV_AWS_355:Session Manager's channels and the public spot prices cannot be scoped; every other statement is
  #checkov:skip=CKV_AWS_290:The same two statements; each has its reason beside it
  name   = "instance"
  role   = aws_iam_role.instance.id
  policy = data.aws_iam_policy_document.instance.json
}
