# Secrets live in SSM only. Ephemeral values and write-only arguments keep them out of the plan and the state.
locals {
  is_mocked = local.account_id == "mocked"
}

ephemeral "aws_secretsmanager_random_password" "token" {
  # `terraform test` cannot mock ephemeral resources yet: there the account has no number, and none is drawn.
  count    = local.is_mocked ? 0 : 1
  provider = aws.tokens

  password_length     = 40
  exclude_punctuation = true
  include_space       = false
}

# Of its own, so that who watches cannot drive, and who drives cannot watch.
ephemeral "aws_secretsmanager_random_password" "dashboard" {
  count    = local.is_mocked ? 0 : 1
  provider = aws.tokens

  password_length     = 40
  exclude_punctuation = true
  include_space       = false
}

resource "aws_ssm_parameter" "token" {
  #checkov:skip=CKV_AWS_337:The account's own SSM key encrypts it; a key of our own costs a dollar a month
  name        = local.token_parameter
  description = "What a bridge shows to be let in; make rotate-token replaces it"
  type        = "SecureString"

  # Written once. A new version would throw out the bridges that are paired.
  value_wo         = local.is_mocked ? "mocked" : ephemeral.aws_secretsmanager_random_password.token[0].random_password
  value_wo_version = 1
}

resource "aws_ssm_parameter" "dashboard" {
  #checkov:skip=CKV_AWS_337:The account's own SSM key encrypts it; a key of our own costs a dollar a month
  name        = local.dashboard_parameter
  description = "What the dashboard asks for; make dashboard-link shows the way in without it"
  type        = "SecureString"

  value_wo         = local.is_mocked ? "mocked" : ephemeral.aws_secretsmanager_random_password.dashboard[0].random_password
  value_wo_version = 1
}

resource "aws_ssm_parameter" "tls" {
  #checkov:skip=CKV_AWS_337:The account's own SSM key encrypts it; a key of our own costs a dollar a month
  name        = local.tls_parameter
  description = "Key and certificate of the receiver; the first instance makes them, its replacements keep the pin"
  type        = "SecureString"

  value_wo         = "unset"
  value_wo_version = 1
}

resource "aws_ssm_parameter" "certificate" {
  #checkov:skip=CKV_AWS_337:The account's own SSM key encrypts it; a key of our own costs a dollar a month
  count = var.route53_zone_id == null ? 0 : 1

  name        = local.certificate_parameter
  description = "The certificate of ${var.domain_name}, its key and its account; ordered once, renewed by instances"
  type        = "SecureString"

  value_wo         = "unset"
  value_wo_version = 1

  lifecycle {
    # A long chain needs the tier of 8 KiB, which the instance asks for.
    ignore_changes = [tier]
  }
}

resource "aws_ssm_parameter" "wandb" {
  #checkov:skip=CKV_AWS_337:The account's own SSM key encrypts it; a key of our own costs a dollar a month
  count = var.wandb == null ? 0 : 1

  name        = local.wandb_parameter
  description = "Key of Weights & Biases"
  type        = "SecureString"

  # The key is needed only when it is sent; "unset" makes the instance train without W&B and say so.
  value_wo         = coalesce(var.wandb_key, "unset")
  value_wo_version = try(coalesce(var.wandb.key_version), 1)
}

# No secret: where the receiver is and which certificate it shows.
resource "aws_ssm_parameter" "endpoint" {
  #checkov:skip=CKV2_AWS_34:It holds a public address and the fingerprint of a certificate
  name        = local.endpoint_parameter
  description = "Where bridges find the receiver; each instance writes its own"
  type        = "String"
  value       = "unset"

  lifecycle {
    ignore_changes = [value]
  }
}

# No secret either: what the run may take. The running instance reads it each minute, so that an apply reaches it.
resource "aws_ssm_parameter" "limits" {
  #checkov:skip=CKV2_AWS_34:It holds what a run may cost and last
  name           = local.limits_parameter
  description    = "Limits of the run as last applied; the instance takes them over within about a minute"
  type           = "String"
  insecure_value = jsonencode(local.limits)
}
