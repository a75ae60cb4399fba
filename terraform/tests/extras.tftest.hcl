# What exists only when asked for, and what the estimates say.
mock_provider "aws" {
  source = "./tests/mocks"
}

# Never called: secrets.tf draws no token here.
provider "aws" {
  alias                       = "tokens"
  region                      = "us-east-1"
  access_key                  = "none"
  secret_key                  = "none"
  skip_credentials_validation = true
  skip_requesting_account_id  = true
  skip_metadata_api_check     = true
}

variables {
  home_cidrs = ["8.8.8.8/32"]
}

run "makes_no_extra_unasked" {
  command = plan

  assert {
    condition     = length(aws_budgets_budget.monthly) == 0 && length(aws_cloudwatch_log_group.instance) == 0 && length(aws_ssm_parameter.wandb) == 0
    error_message = "A budget, a log group or a W&B key exists unasked."
  }

  assert {
    condition     = local.instance.log_group == null && local.instance.wandb_parameter == null && !contains(keys(local.run), "wandb_project")
    error_message = "The instance would look for what does not exist."
  }

  assert {
    condition     = alltrue([for it in [aws_ssm_parameter.token, aws_ssm_parameter.tls] : it.type == "SecureString"]) && aws_ssm_parameter.endpoint.type == "String"
    error_message = "A secret is kept in the open."
  }
}

run "mails_keeps_logs_and_a_wandb_key_when_asked_and_estimates_by_the_dearest_type" {
  command = plan

  variables {
    cloudwatch_logs = true
    alert_email     = "you@example.org"
    budget_usd      = 12.5
    instance_types  = ["g4dn.xlarge", "g5.xlarge"]
    wandb           = { project = "laps", entity = "me" }
    wandb_key       = "0123456789abcdef0123456789abcdef01234567"
  }

  assert {
    condition     = local.instance.log_group == aws_cloudwatch_log_group.instance[0].name && local.instance.wandb_parameter == aws_ssm_parameter.wandb[0].name
    error_message = "The instance does not know the log group or the key's parameter."
  }

  assert {
    condition     = local.run.wandb_project == "laps" && local.run.wandb_entity == "me"
    error_message = "The run does not know its W&B project."
  }

  assert {
    condition     = aws_budgets_budget.monthly[0].limit_amount == "12.5" && one(aws_budgets_budget.monthly[0].notification).threshold == 80
    error_message = "The budget does not mail at 80 % of budget_usd."
  }

  assert {
    condition     = local.fallback_price == local.prices.instance_types["g5.xlarge"].spot_usd_per_hour
    error_message = "The estimate is not the dearest type's."
  }

  assert {
    condition     = output.hourly_cost_usd > local.fallback_price && output.monthly_cost_usd > 700 * output.hourly_cost_usd
    error_message = "Disk and address are left out, or the month is wrong."
  }
}

run "says_so_when_it_knows_no_price_and_assumes_a_high_one" {
  command = plan

  variables {
    instance_types = ["g5.xlarge", "g7.xlarge"]
  }

  assert {
    condition     = output.hourly_cost_usd == null && output.monthly_cost_usd == null
    error_message = "An estimate was made up."
  }

  assert {
    condition     = local.fallback_price == local.dearest_listed
    error_message = "The instance would count an unknown type too cheap."
  }
}
